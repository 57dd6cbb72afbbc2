"""Collects the runs that `make compare` compares: the workspace, the last commit and every DVC experiment.

DVC knows names, parameters and states; metrics and loss histories come from git, because an experiment is a commit.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import PARAMS, flat
from minimal_llm.pipeline.commands import git, output_of

METRICS = ("val_loss", "val_bits_per_byte", "gap", "best_epoch")  # of data/metrics/train.json
UNFINISHED = {"queued": "dvc queue start", "running": "make watch", "failed": "dvc queue logs {}"}  # what to do next


@dataclass(frozen=True)
class Run:
    """One row of the comparison. `state` is empty for a run with results; otherwise it says why there are none."""

    name: str
    parameters: Mapping[str, Any]  # by dotted names, and the corpus that was used
    state: str = ""
    detail: str = ""  # what to do about the state
    metrics: Mapping[str, Any] = field(default_factory=dict)  # METRICS, or nothing
    speed: Mapping[str, Any] = field(default_factory=dict)  # data/metrics/train_speed.json
    val_losses: tuple[float, ...] = ()  # after each epoch
    tokens: str = ""  # hash of data/tokens


def collect_runs() -> list[Run]:
    """Return the workspace, the last commit and the experiments of all commits, lowest validation loss first.

    Raises:
        ConfigurationError: git or DVC failed.
    """
    head = output_of("git", "rev-parse", "HEAD").strip()
    references = git("for-each-ref", "--format=%(refname)", "refs/exps")
    bases = map("".join, re.findall(r"^refs/exps/(..)/(.{38})/", references, re.MULTILINE))
    revisions = [word for revision in dict.fromkeys([head, *bases]) for word in ("--rev", revision)]
    runs = []
    for base in json.loads(output_of("dvc", "exp", "show", "--json", *revisions)):
        if base["rev"] in ("workspace", head):
            runs.append(_run("workspace" if base["rev"] == "workspace" else "HEAD ({})", base))
        label = "{}" if base["rev"] == head else f"{{}} (from {base['rev'][:7]})"
        for experiment in base["experiments"] or []:
            runs.append(_run(label, experiment["revs"][0], (experiment["executor"] or {}).get("state")))
    return sorted(runs, key=lambda run: run.metrics.get("val_loss", float("inf")))


def best_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the best run, or the best on each set of tokens: losses on different tokens are not comparable."""
    ranked = sorted((run for run in runs if run.metrics), key=lambda run: run.metrics["val_loss"])
    return list({run.tokens: run for run in reversed(ranked)}.values())


def differing(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the parameters with more than one value; a missing parameter has no value."""
    names = list(dict.fromkeys(name for values in parameters for name in values))
    return [name for name in names if len({repr(v[name]) for v in parameters if name in v}) > 1]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the last part of each dotted name, or the whole name where two would look the same."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: part if last.count(part) == 1 else name for name, part in zip(names, last, strict=True)}


def _run(label: str, entry: Mapping[str, Any], state: str | None = None) -> Run:
    """Return what DVC shows of the workspace, a commit or an experiment, with the results that git has."""
    data, artifacts = entry["data"] or {}, Artifacts()
    own_name = entry["name"] or entry["rev"][:7]
    name, read = label.format(own_name), partial(_text, entry["rev"])
    parameters = _numbers((data.get("params", {}).get(str(PARAMS)) or {}).get("data") or {})
    if state in UNFINISHED:  # DVC shows it with the metrics that it started from
        return Run(name, parameters, state, UNFINISHED[state].format(shlex.quote(own_name)))
    if detail := _outdated(parameters, read(Path("dvc.lock"))):
        return Run(name, parameters, "not run", detail)
    try:
        train, speed = json.loads(read(artifacts.train_metrics)), dict(json.loads(read(artifacts.train_speed)))
        parameters, metrics = {"corpus": train["corpus"]} | parameters, {key: train[key] for key in METRICS}
        losses = tuple(float(row["val_loss"]) for row in csv.DictReader(read(artifacts.history).splitlines()))
    except (KeyError, TypeError, ValueError):  # deleted when training started, or edited by hand
        return Run(name, parameters, "no metrics", "training has not finished, or it failed; make status")
    tokens = data.get("outs", {}).get(str(artifacts.tokens), {}).get("hash", "")
    return Run(name, parameters, "", "", metrics, speed, losses, tokens)


def _outdated(parameters: Mapping[str, Any], lock: str) -> str:
    """Return why the results that dvc.lock records are not those of these parameters, or "" if they are."""
    try:
        stages = yaml.safe_load(lock)["stages"]
        recorded = [stages[name]["params"][str(PARAMS)] for name in ("download", "tokenizer", "train")]
    except (yaml.YAMLError, KeyError, TypeError):
        return "make train"
    ran = {key: value for values in recorded for key, value in _numbers(values).items()}
    changed = [key for key, value in ran.items() if key in parameters and parameters[key] != value]
    return f"changed since the last run: {', '.join(changed)}; make train" if changed else ""


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted names, numbers as floats, even 3e-05, which YAML reads as a string."""
    named = flat(values)
    for key, value in named.items():
        with suppress(TypeError, ValueError):
            named[key] = value if isinstance(value, bool) else float(value)
    return named


def _text(revision: str, path: Path) -> str:
    """Return a file of a revision, which may be the workspace; "" if it has no such file."""
    if revision != "workspace":
        return git("show", f"{revision}:{path.as_posix()}")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
