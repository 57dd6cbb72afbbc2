"""What `make verify` does: train again into a scratch folder and hold the result against what is recorded.

python -m minimal_llm.verify
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from minimal_llm.common.artifacts import DATA, STAGES, Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import (
    EXIT_INTERRUPTED,
    ConfigurationError,
    Interrupted,
    MinimalLlmError,
    ValidationError,
)
from minimal_llm.common.files import read_json
from minimal_llm.common.unfinished_runs import unfinished_runs
from minimal_llm.corpus.manifest import read_manifest

LOCK = Path("dvc.lock")
SCRATCH = Path("runs/verify")
RETRAINED = STAGES[: STAGES.index("train") + 1]  # what stands before the result that is compared
LOSSES = ("val_loss", "train_loss")
TOLERANCE = 0.05  # of a loss, between machines
# What train_speed.json says of the machine: equal bytes are promised where all of it is equal.
MACHINE = ("device", "precision", "compiled", "threads", "cpu_capability", "torch_version", "cpu")
AGAIN = "make verify goes on from there"

Hashes = dict[Path, str]


@dataclass(frozen=True)
class Lock:
    """The stages of dvc.lock."""

    stages: Mapping[str, Any]

    def inputs(self, stage: str) -> Hashes:
        """Return the recorded hashes of what a stage reads below data/."""
        return {path: md5 for path, md5 in _hashes(self.stages[stage]["deps"]).items() if DATA in path.parents}

    def outputs(self, stage: str) -> Hashes:
        """Return the recorded hashes of what a stage makes, times and memory aside: those differ from run to run."""
        hashes = _hashes(self.stages[stage]["outs"])
        hashes.pop(Artifacts().train_speed, None)
        return hashes

    def parameters(self, stage: str) -> Mapping[str, Any]:
        """Return the recorded parameters of a stage, by their dotted names."""
        recorded: Mapping[str, Any] = self.stages[stage].get("params", {}).get("params.yaml", {})
        return recorded

    def read_metrics(self, path: Path) -> Any:
        """Return the content of a metrics file of the train stage.

        Raises:
            ConfigurationError: the file is missing or not the one that was recorded.
        """
        wanted = _hashes(self.stages["train"]["outs"]).get(path, "")
        if md5_of(path) != wanted:
            raise ConfigurationError(
                f"{path} ({_short(md5_of(path))}) is not the file that {LOCK} records ({_short(wanted)})",
                remedy=f"git checkout {LOCK} {path}, or train anew: dvc repro",
            )
        return read_json(path)


@dataclass(frozen=True)
class Row:
    """One comparison: the recorded value, the one here, and whether they agree."""

    name: str
    recorded: str
    here: str
    agrees: bool


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        verify(load_config())
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # between two stages
        print(f"error: interrupted\n  What to do: {AGAIN}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def verify(config: Config) -> None:
    """Train again as dvc.lock records it and print how the result compares; on success, delete it.

    Raises:
        ConfigurationError: dvc.lock, the metrics or the parameters are not of one and the same run.
        ValidationError: the result is another one.
        Interrupted: a signal stopped it.
        SystemExit: a stage failed; the code is its own, and it has said why.
    """
    lock = read_lock()
    require_up_to_date(lock, config)
    speed, losses = (lock.read_metrics(path) for path in (Artifacts().train_speed, Artifacts().train_metrics))
    scratch = Artifacts(SCRATCH, config.tokenizer.name)
    if not unfinished_runs(scratch.checkpoints, config):  # what an ended run left would spare the training
        shutil.rmtree(SCRATCH, ignore_errors=True)
    inputs, made = prepare_inputs(lock, scratch)
    print(f"training into {SCRATCH}; the recorded run took {speed['total_seconds'] / 60:.1f} minutes")
    _run_stage("train", "--data-dir", str(inputs), "--output-dir", str(SCRATCH))
    conclude(lock, [*made, "train"], speed, losses, scratch)
    shutil.rmtree(SCRATCH)


def read_lock() -> Lock:
    """Return what dvc.lock records.

    Raises:
        ConfigurationError: it is missing or unreadable, or a stage is not in it.
    """
    try:
        content = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
        stages = content["stages"]
        missing = [stage for stage in RETRAINED if stage not in stages]
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {LOCK}: nothing to compare with", remedy="make train") from None
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{LOCK} cannot be read: {type(error).__name__}: {error}", remedy=f"git checkout {LOCK}, or make train"
        ) from error
    if missing:
        raise ConfigurationError(f"{LOCK} records no run of {', '.join(missing)}", remedy="make train")
    return Lock(stages)


def require_up_to_date(lock: Lock, config: Config) -> None:
    """Raise ConfigurationError, naming all of it, if parameters or code have changed since dvc.lock was written."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", *RETRAINED], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(f"dvc status failed: {done.stderr.strip()}", remedy="dvc status says more")
    changes: dict[str, None] = {}  # in their order, each once: several stages share some
    for stage, entries in json.loads(done.stdout).items():
        for entry in entries:
            found = entry.get("changed deps", {}) if isinstance(entry, dict) else {f"the stage {stage}": entry}
            changes |= dict.fromkeys(_describe(found, lock.parameters(stage), config))
    if changes:
        lines = "\n".join(f"  - {change}" for change in changes)
        raise ConfigurationError(
            f"{LOCK} was written with other parameters or code:\n{lines}",
            remedy="dvc repro trains with those of now, or undo the changes: git diff shows them",
        )


def _describe(found: Mapping[str, Any], recorded: Mapping[str, Any], config: Config) -> list[str]:
    now = config.model_dump(mode="json", by_alias=True)
    changes = []
    for name, change in found.items():
        if isinstance(change, dict):
            for key in change:
                then = repr(recorded[key]) if key in recorded else "nothing"
                changes.append(f"{key}: {then} in {LOCK}, {reduce(getitem, key.split('.'), now)!r} in {name}")
        elif DATA not in Path(name).parents:  # data is compared by its hashes, and made again where it is not here
            changes.append(f"{name}: {change}")
    return changes


def prepare_inputs(lock: Lock, scratch: Artifacts) -> tuple[Path, list[str]]:
    """Return the folder of the recorded token files, data/ or the scratch folder, and the stages run to make them.

    Raises:
        ValidationError: the corpus that can be had here is not the recorded one.
        Interrupted, SystemExit: as `verify`.
    """
    made = []
    corpus = tokens = DATA
    if not _are_equal(lock.inputs("train"), DATA):
        tokens = SCRATCH
        if not _are_equal(lock.inputs("tokenizer"), DATA):
            corpus = SCRATCH
            if Artifacts().raw_books.is_dir():  # nothing is fetched twice
                shutil.copytree(Artifacts().raw_books, scratch.raw_books, dirs_exist_ok=True)
            _run_stage("download", "--data-dir", str(SCRATCH))
            require_recorded_corpus(lock, scratch)
            made.append("download")
        _run_stage("tokenizer", "--data-dir", str(corpus), "--output-dir", str(SCRATCH))
        made.append("tokenizer")
    equal = "equal" if _are_equal(lock.inputs("train"), tokens) else "DIFFER FROM"
    print(f"inputs: the tokenizer and the token files in {tokens} {equal} those of {LOCK}")
    return tokens, made


def require_recorded_corpus(lock: Lock, scratch: Artifacts) -> None:
    """Raise ValidationError if the corpus in the scratch folder is not the recorded one: no machine excuses that."""
    path = Artifacts().corpus
    here, recorded = md5_of(scratch.corpus), lock.outputs("download")[path]
    if here == recorded:
        return
    manifest = read_manifest(scratch.corpus_manifest)
    why, remedy = "", f"see {scratch.corpus_manifest} for what it is made of; dvc repro trains on the corpus of now"
    if manifest.fallback:
        why = f": {manifest.reason}, so the primer stood in"
        remedy = "connect, or set GUTENBERG_MIRRORS, then: make verify"
    raise ValidationError(
        f"nothing was trained or compared, because the corpus differs{why}\n"
        f"  {path}: {_short(recorded)} in {LOCK}, {_short(here)} ({manifest.source}) here",
        remedy=remedy,
    )


def conclude(lock: Lock, stages: Sequence[str], recorded_speed: Any, recorded_losses: Any, scratch: Artifacts) -> None:
    """Print a table of what the stages made here against the record, then which comparison it was and how it ended.

    Raises:
        ValidationError: something differs.
    """
    speed = read_json(scratch.train_speed)
    sides = {key: (recorded_speed.get(key, "not recorded"), speed[key]) for key in MACHINE}
    differing = [f"{key} {there} there, {here} here" for key, (there, here) in sides.items() if there != here]
    if differing:
        kind, reason = f"losses within {TOLERANCE:.0%}", f"another machine: {'; '.join(differing)}"
        rows = compare_losses(recorded_losses, read_json(scratch.train_metrics))
    else:
        kind, reason = "bytes", f"this machine: {', '.join(f'{key} {speed[key]}' for key in MACHINE)}"
        rows = [row for stage in stages for row in compare_bytes(lock.outputs(stage))]
    print(f"\ncomparing {kind}, as the record is of {reason}")
    _print_table(rows)
    wrong = [row.name for row in rows if not row.agrees]
    if wrong:
        raise ValidationError(
            f"NOT verified: {len(wrong)} of {len(rows)} differ, comparing {kind}: {', '.join(wrong)}",
            remedy=f"the files made here stay in {SCRATCH}; dvc repro --force trains anew and records that",
        )
    print(f"verified: {len(rows)} of {len(rows)} agree, comparing {kind}")


def compare_bytes(recorded: Hashes) -> list[Row]:
    """Return how the files in the scratch folder compare with recorded hashes."""
    here = {path: md5_of(SCRATCH / path.relative_to(DATA)) for path in recorded}
    return [Row(str(path), _short(md5), _short(here[path]), md5 == here[path]) for path, md5 in recorded.items()]


def compare_losses(recorded: Mapping[str, float], here: Mapping[str, float]) -> list[Row]:
    """Return how the losses of two runs compare: they agree within TOLERANCE of the recorded one."""
    rows = []
    for name in LOSSES:
        change = here[name] / recorded[name] - 1
        rows.append(Row(name, f"{recorded[name]:.4f}", f"{here[name]:.4f} ({change:+.2%})", abs(change) <= TOLERANCE))
    return rows


def md5_of(path: Path) -> str:
    """Return the hash that DVC gives a file or a folder, or an empty text if there is neither."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        listing = json.dumps([{"md5": md5_of(file), "relpath": name} for name, file in files])
        return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
    if not path.exists():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _run_stage(stage: str, *flags: str) -> None:
    """Run a stage script as a user does; a signal makes it save and end.

    Raises:
        Interrupted: a signal ended it.
        SystemExit: it failed.
    """
    command = [sys.executable, f"stages/{stage}.py", *flags]
    print(f"$ {shlex.join(['python', *command[1:]])}", flush=True)
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = _wait(process)
    finally:
        signal.signal(signal.SIGTERM, before)
    if code == EXIT_INTERRUPTED or code < 0:
        raise Interrupted(f"{stage} was {'killed' if code < 0 else 'interrupted'}", remedy=AGAIN)
    if code:
        raise SystemExit(code)


def _wait(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # a terminal sends it to the stage as well, which saves and ends
            continue


def _print_table(rows: Sequence[Row]) -> None:
    table = Table()
    for column in ("", "recorded", "here", ""):
        table.add_column(column)
    for row in rows:
        table.add_row(row.name, row.recorded, row.here, "[green]agrees[/]" if row.agrees else "[red]differs[/]")
    Console().print(table)


def _hashes(entries: Sequence[Mapping[str, str]]) -> Hashes:
    return {Path(entry["path"]): entry["md5"] for entry in entries}


def _are_equal(recorded: Hashes, root: Path) -> bool:
    return all(md5_of(root / path.relative_to(DATA)) == md5 for path, md5 in recorded.items())


def _short(md5: str) -> str:
    return md5[:10] or "missing"


if __name__ == "__main__":
    sys.exit(main())
