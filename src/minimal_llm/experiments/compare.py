"""`make compare`: the workspace, the last commit and all experiments of DVC in one table and one picture.

python -m minimal_llm.compare     # prints the table, writes runs/compare.md and runs/compare.png

An experiment of DVC is a commit, so its parameters, metrics and history are read from git; nothing is checked out.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import flat
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError

RUNS = Path("runs")
NEEDED = {"corpus", "val_loss", "val_bits_per_byte", "gap", "best_epoch"}  # of data/metrics/train.json
TRY = "dvc exp run -S train.learning_rate=0.001"
# Losses compare only between runs that were measured on the same tokens, which these parameters shape.
SHAPES_TOKENS = ("download.", "split.", "tokenizer.")


@dataclass(frozen=True)
class Run:
    """A row of the table. `state` is empty for a run with results, else says why there are none."""

    name: str
    parameters: Mapping[str, Any]
    state: str = ""
    detail: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)  # of data/metrics/train.json
    speed: Mapping[str, Any] = field(default_factory=dict)  # of data/metrics/train_speed.json
    val_losses: tuple[float, ...] = ()  # after each epoch

    @property
    def val_loss(self) -> float:
        """Nats a token; infinite without results, so that such runs sort last."""
        return float(self.metrics["val_loss"]) if self.metrics else float("inf")

    @property
    def epoch_minutes(self) -> tuple[float, ...]:
        """Minutes of training when each epoch was done; empty where they were not recorded."""
        seconds = self.speed.get("epoch_seconds", [])
        return tuple(s / 60 for s in seconds) if len(seconds) == len(self.val_losses) else ()

    @property
    def data(self) -> tuple[Any, ...]:
        """What it was measured on: runs that differ in it have losses that do not compare."""
        shapes = sorted((key, repr(value)) for key, value in self.parameters.items() if key.startswith(SHAPES_TOKENS))
        return (self.metrics.get("corpus"), *shapes)


def collect_runs() -> list[Run]:
    """Return the workspace, the last commit and the experiments of all commits, the lowest validation loss first.

    Raises:
        ConfigurationError: git or DVC cannot say what there is.
    """
    runs = []
    bases = _baselines()
    words = [word for revision in bases for word in ("--rev", revision)]
    shown = json.loads(_output("dvc", "exp", "show", "--json", *words))
    for entry in shown:
        if entry["rev"] == "workspace":
            runs.append(_committed_run("workspace", entry, None))
        elif entry["rev"] == bases[0]:
            runs.append(_committed_run(f"HEAD ({entry['name'] or entry['rev'][:7]})", entry, entry["rev"]))
        of_old = "" if entry["rev"] == bases[0] else f" (from {entry['rev'][:7]})"
        for run in map(_experiment, entry["experiments"] or []):
            runs.append(replace(run, name=run.name + of_old))
    return sorted(runs, key=lambda run: run.val_loss)


def best_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the best of those that compare with each other: one, or one for each kind of data."""
    best: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        if run.metrics and run.val_loss < best.get(run.data, Run("", {})).val_loss:
            best[run.data] = run
    return list(best.values())


def differing(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the parameters that have more than one value; where one is missing it has none."""
    names = list(dict.fromkeys(name for values in parameters for name in values))
    return [name for name in names if len({repr(v[name]) for v in parameters if name in v}) > 1]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return each dotted name's last part, or all of it where two would read alike."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: part if last.count(part) == 1 else name for name, part in zip(names, last, strict=True)}


def main() -> int:
    """Print the table and write both files; return the exit code."""
    try:
        runs = collect_runs()
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not _worth_comparing(runs):
        print(f"Nothing to compare yet. Run an experiment, then compare again:\n  {TRY}\n  make compare")
        return 0
    from minimal_llm.experiments.compare_output import write_comparison  # matplotlib takes a second to load

    write_comparison(runs, RUNS)
    return 0


def _worth_comparing(runs: Sequence[Run]) -> bool:
    """Whether there is an experiment, or a workspace with results that differ from those of the last commit."""
    if len(runs) > 2:
        return True
    workspace, committed = sorted(runs, key=lambda run: run.name, reverse=True)
    return bool(workspace.metrics and committed.metrics and workspace.metrics != committed.metrics)


def _baselines() -> list[str]:
    """Return the last commit and those that experiments, also queued and failed ones, started from."""
    head = _output("git", "rev-parse", "HEAD").strip()
    found = [head]
    for reference in _output("git", "for-each-ref", "--format=%(refname)", "refs/exps").split():
        if match := re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/.+", reference):
            found.append(match[1] + match[2])
        elif reference.startswith("refs/exps/celery/"):
            notes = _output("git", "reflog", "show", "--format=%gs", reference)
            found += re.findall(r"dvc-exp:[0-9a-f]{40}:([0-9a-f]{40})", notes)
    return list(dict.fromkeys(found))


def _committed_run(name: str, entry: Mapping[str, Any], revision: str | None) -> Run:
    """Return the workspace (no revision) or a commit, whose parameters may be other than those that were run."""
    parameters, lock = _parameters(entry), _text(revision, Path("dvc.lock"))
    changed = _not_run(parameters, lock)
    if changed is None or changed:
        keys = ", ".join(changed or [])
        detail = f"changed and not run yet: {keys}; make train" if changed else "never run; make train"
        return Run(name, parameters, "not run", detail)
    return _finished_run(name, entry, revision)


def _experiment(experiment: Mapping[str, Any]) -> Run:
    entry = experiment["revs"][0]
    name = experiment["name"] or entry["rev"][:7]
    executor = experiment["executor"] or {}
    match executor.get("state"):
        case "failed":
            return Run(name, _parameters(entry), "failed", _reason(entry, executor, name))
        case "queued":
            return Run(name, _parameters(entry), "queued", "dvc queue start")
        case "running":  # its metrics, as DVC shows them, are still those that it started from
            return Run(name, _parameters(entry), "running", "make watch")
    return _finished_run(name, entry, entry["rev"])


def _finished_run(name: str, entry: Mapping[str, Any], revision: str | None) -> Run:
    # As git has them, for DVC's tables hold only a few of their figures, and no lists.
    metrics, speed = (_json(_text(revision, path)) for path in (Artifacts().train_metrics, Artifacts().train_speed))
    if not metrics.keys() >= NEEDED:
        return Run(name, _parameters(entry), "no metrics", "training did not end yet, or failed; make status")
    return Run(name, _parameters(entry), "", "", metrics, speed, _val_losses(_text(revision, Artifacts().history)))


def _reason(entry: Mapping[str, Any], executor: Mapping[str, Any], name: str) -> str:
    """Return why an experiment failed, as its stage said it, and how to read more."""
    try:
        log = Path(executor["local"]["log"]).read_text(encoding="utf-8", errors="replace")
    except (KeyError, TypeError, OSError):
        log = ""
    found = re.findall(r"^error: (.*(?:\n  - .*)*)", log, re.MULTILINE)
    said = " ".join(found[-1].replace("\n  - ", " ").split()) if found else (entry["error"] or {}).get("msg", "failed")
    return f"{said}; dvc queue logs {shlex.quote(name)}"


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    return _numbers(((entry["data"] or {}).get("params", {}).get("params.yaml") or {}).get("data") or {})


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _number(value) for key, value in flat(values).items()}


def _number(value: Any) -> Any:
    """Return numbers as floats, also 3e-05, which YAML reads as a string: equal values are to be equal."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _not_run(parameters: Mapping[str, Any], lock: str) -> list[str] | None:
    """Return the parameters that have other values than when they were last run; None if that never happened."""
    try:
        stages = yaml.safe_load(lock)["stages"]
        recorded = stages["train"]["params"]["params.yaml"]
    except (yaml.YAMLError, KeyError, TypeError):
        return None
    for stage in ("download", "tokenizer"):
        recorded = {**stages.get(stage, {}).get("params", {}).get("params.yaml", {}), **recorded}
    return [key for key, value in _numbers(recorded).items() if key in parameters and parameters[key] != value]


def _val_losses(history: str) -> tuple[float, ...]:
    try:
        return tuple(float(row["val_loss"]) for row in csv.DictReader(io.StringIO(history)))
    except (KeyError, TypeError, ValueError):  # a file that somebody edited: a run without a curve
        return ()


def _json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(revision: str | None, path: Path) -> str:
    """Return a file of a revision, of the workspace without one; empty if there is none."""
    if revision is None:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    done = subprocess.run(["git", "show", f"{revision}:{path.as_posix()}"], capture_output=True, check=False)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigurationError(f"{command[0]} is not installed", remedy="make check") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        raise ConfigurationError(
            f"{' '.join(command[:3])} failed: {said[-1] if said else f'exit code {done.returncode}'}",
            remedy="make check, then make compare again",
        )
    return done.stdout.decode("utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())
