"""What `minimal-llm verify` does: train again into a scratch folder and compare the result with what is recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table

from minimal_llm.common.artifacts import DATA, STAGES, Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import EXIT_INTERRUPTED, ConfigurationError, Interrupted, ValidationError
from minimal_llm.common.files import read_json
from minimal_llm.common.unfinished_runs import unfinished_runs
from minimal_llm.corpus.manifest import read_manifest
from minimal_llm.pipeline.commands import output_of, run_stages

LOCK = Path("dvc.lock")
SCRATCH = Path("runs/verify")
RETRAINED = STAGES[: STAGES.index("train") + 1]  # the stages up to the result that is compared
LOSSES = ("val_loss", "train_loss")
TOLERANCE = 0.05  # of a loss, between machines
# What train_speed.json says about the machine: where all of it is equal, equal bytes are promised.
MACHINE = ("device", "precision", "compiled", "threads", "cpu_capability", "torch_version", "cpu")

Hashes = dict[Path, str]


class _Row(NamedTuple):
    name: str
    recorded: str
    here: str
    matches: bool


class _Lock:
    """What dvc.lock records of the stages. Raises ConfigurationError if it cannot be read or lacks a stage."""

    def __init__(self) -> None:
        try:
            self._stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
            missing = [stage for stage in RETRAINED if stage not in self._stages]
        except FileNotFoundError:
            raise ConfigurationError(f"there is no {LOCK}, so nothing to compare with", remedy="make train") from None
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise ConfigurationError(
                f"{LOCK} cannot be read: {type(error).__name__}: {error}", remedy=f"git checkout {LOCK}, or make train"
            ) from error
        if missing:
            raise ConfigurationError(f"{LOCK} records no run of {', '.join(missing)}", remedy="make train")

    def hashes(self, stage: str, kind: str) -> Hashes:
        """Return the hashes of the `deps` or `outs` below data/, train_speed.json aside: it differs between runs."""
        found = {Path(entry["path"]): entry["md5"] for entry in self._stages[stage][kind]}
        return {path: md5 for path, md5 in found.items() if DATA in path.parents and path != Artifacts().train_speed}

    def parameters(self, stage: str) -> Any:
        """Return the parameters of a stage by their dotted names."""
        return self._stages[stage].get("params", {}).get("params.yaml", {})

    def read_metrics(self, path: Path) -> Any:
        """Return the content of a metrics file of stage train. Raises ConfigurationError if it is another file."""
        recorded = next((e["md5"] for e in self._stages["train"]["outs"] if Path(e["path"]) == path), "")
        if (here := md5_of(path)) != recorded:
            raise ConfigurationError(
                f"{path} ({_short(here)}) is not the file that {LOCK} records ({_short(recorded)})",
                remedy=f"git checkout {LOCK} {path}, or train again: dvc repro",
            )
        return read_json(path)


def verify() -> int:
    """Train again as dvc.lock records it and print how the result compares; on success, delete it and return 0.

    Raises:
        ConfigurationError: dvc.lock, the metrics and the parameters are not those of one run.
        ValidationError: the result differs.
        Interrupted: a signal stopped it.
        SystemExit: a stage failed; it has printed why, and the code is its own.
    """
    config = load_config()
    lock = _Lock()
    _require_up_to_date(lock, config)
    speed, losses = (lock.read_metrics(path) for path in (Artifacts().train_speed, Artifacts().train_metrics))
    scratch = Artifacts(SCRATCH, config.tokenizer.name)
    if not unfinished_runs(scratch.checkpoints, config):  # a finished run would be taken from its checkpoint
        shutil.rmtree(SCRATCH, ignore_errors=True)
    inputs, rebuilt = _prepare_inputs(lock, scratch)
    print(f"Training into {SCRATCH}; the recorded run took {speed['total_seconds'] / 60:.1f} minutes.")
    _run_stage("train", "--data-dir", str(inputs), "--output-dir", str(SCRATCH))
    _conclude(lock, [*rebuilt, "train"], speed, losses, scratch)
    shutil.rmtree(SCRATCH)
    return 0


def _require_up_to_date(lock: _Lock, config: Config) -> None:
    """Raise ConfigurationError with all changes if parameters or code have changed since dvc.lock was written."""
    now, changes = config.model_dump(mode="json", by_alias=True), []
    for stage, entries in json.loads(output_of("dvc", "status", "--json", *RETRAINED)).items():
        recorded = lock.parameters(stage)
        for entry in entries:
            found = entry.get("changed deps", {}) if isinstance(entry, dict) else {f"stage {stage}": entry}
            for name, change in found.items():
                if isinstance(change, dict):
                    then = {key: repr(recorded[key]) if key in recorded else "nothing" for key in change}
                    here = {key: reduce(getitem, key.split("."), now) for key in change}
                    changes += [f"{key}: {then[key]} in {LOCK}, {here[key]!r} in {name}" for key in change]
                elif DATA not in Path(name).parents:  # data is compared by its hashes, and rebuilt where it is missing
                    changes.append(f"{name}: {change}")
    if changes:
        lines = "\n".join(f"  - {change}" for change in dict.fromkeys(changes))  # several stages share some
        raise ConfigurationError(
            f"{LOCK} was written with other parameters or code:\n{lines}",
            remedy="dvc repro trains with the current ones; or undo the changes, which git diff shows",
        )


def _prepare_inputs(lock: _Lock, scratch: Artifacts) -> tuple[Path, list[str]]:
    """Return the folder with the recorded token files, data/ or the scratch folder, and the stages run to make them."""
    rebuilt = []
    corpus = tokens = DATA
    if not _match(lock.hashes("train", "deps"), DATA):
        tokens = SCRATCH
        if not _match(lock.hashes("tokenizer", "deps"), DATA):
            corpus = SCRATCH
            if Artifacts().raw_books.is_dir():  # nothing is downloaded twice
                shutil.copytree(Artifacts().raw_books, scratch.raw_books, dirs_exist_ok=True)
            _run_stage("download", "--data-dir", str(SCRATCH))
            _require_recorded_corpus(lock, scratch)
            rebuilt.append("download")
        _run_stage("tokenizer", "--data-dir", str(corpus), "--output-dir", str(SCRATCH))
        rebuilt.append("tokenizer")
    comparison = "match" if _match(lock.hashes("train", "deps"), tokens) else "DIFFER FROM"
    print(f"inputs: the tokenizer and the token files in {tokens} {comparison} {LOCK}")
    return tokens, rebuilt


def _require_recorded_corpus(lock: _Lock, scratch: Artifacts) -> None:
    """Raise ValidationError if the corpus in the scratch folder is not the recorded one: no machine excuses that."""
    path = Artifacts().corpus
    here, recorded = md5_of(scratch.corpus), lock.hashes("download", "outs")[path]
    if here == recorded:
        return
    manifest = read_manifest(scratch.corpus_manifest)
    why, remedy = "", f"see {scratch.corpus_manifest} for its documents; dvc repro trains on the current corpus"
    if manifest.fallback:
        why = f": {manifest.reason}, so the primer was used instead"
        remedy = "connect to the network, or set GUTENBERG_MIRRORS, then: make verify"
    raise ValidationError(
        f"nothing was trained or compared, because the corpus differs{why}\n"
        f"  {path}: {_short(recorded)} in {LOCK}, {_short(here)} ({manifest.source}) here",
        remedy=remedy,
    )


def _conclude(
    lock: _Lock, stages: Sequence[str], recorded_speed: Any, recorded_losses: Any, scratch: Artifacts
) -> None:
    """Compare what the stages made with the record: bytes on an equal machine, losses elsewhere."""
    then, now = ({key: speed.get(key) for key in MACHINE} for speed in (recorded_speed, read_json(scratch.train_speed)))
    if differing := [f"{key} {then[key]} recorded, {now[key]} here" for key in MACHINE if then[key] != now[key]]:
        kind, machine = f"losses within {TOLERANCE:.0%}", f"another machine ({'; '.join(differing)})"
        rows = _compare_losses(recorded_losses, read_json(scratch.train_metrics))
    else:
        kind, machine = "bytes", f"this machine ({', '.join(f'{key} {value}' for key, value in now.items())})"
        rows = [row for stage in stages for row in _compare_bytes(lock.hashes(stage, "outs"))]
    print(f"\nComparing {kind}: the recorded run was made on {machine}.")
    table = Table("", "recorded", "here", "")
    for row in rows:
        table.add_row(row.name, row.recorded, row.here, "[green]matches[/]" if row.matches else "[red]differs[/]")
    Console().print(table)
    wrong = [row.name for row in rows if not row.matches]
    if wrong:
        raise ValidationError(
            f"NOT verified: {len(wrong)} of {len(rows)} differ, comparing {kind}: {', '.join(wrong)}",
            remedy=f"inspect the new files in {SCRATCH}; to train again and record the result: dvc repro --force",
        )
    print(f"Verified: all {len(rows)} match, comparing {kind}.")


def _compare_bytes(recorded: Hashes) -> list[_Row]:
    here = {path: md5_of(SCRATCH / path.relative_to(DATA)) for path in recorded}
    return [_Row(str(path), _short(md5), _short(here[path]), md5 == here[path]) for path, md5 in recorded.items()]


def _compare_losses(recorded: Mapping[str, float], here: Mapping[str, float]) -> list[_Row]:
    rows = []
    for name in LOSSES:
        change = here[name] / recorded[name] - 1
        rows.append(_Row(name, f"{recorded[name]:.4f}", f"{here[name]:.4f} ({change:+.2%})", abs(change) <= TOLERANCE))
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
    """Run a stage script as a user does; a signal makes it save and end. Raises as `verify`."""
    code = run_stages(["python", f"stages/{stage}.py", *flags])
    if code == EXIT_INTERRUPTED or code < 0:
        raise Interrupted(f"{stage} was {'killed' if code < 0 else 'interrupted'}", remedy="make verify resumes it")
    if code:
        raise SystemExit(code)


def _match(recorded: Hashes, root: Path) -> bool:
    return all(md5_of(root / path.relative_to(DATA)) == md5 for path, md5 in recorded.items())


def _short(md5: str) -> str:
    return md5[:10] or "missing"
