"""What `minimal-llm verify` does: train again into a scratch folder and compare the result with what is recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from minimal_llm.common.artifacts import DATA, STAGES, Artifacts
from minimal_llm.common.config import PARAMS, Config, load_config
from minimal_llm.common.errors import EXIT_INTERRUPTED, ConfigurationError, Interrupted, ValidationError
from minimal_llm.common.files import md5_of_file, read_json
from minimal_llm.common.unfinished_runs import unfinished_runs
from minimal_llm.corpus.manifest import read_manifest
from minimal_llm.pipeline.commands import output_of, run_stages
from minimal_llm.pipeline.preflight import LOCK

SCRATCH = Path("runs/verify")
RETRAINED = STAGES[: STAGES.index("train") + 1]  # the stages up to the result that is compared
METRICS = (Artifacts().train_speed, Artifacts().train_metrics)
LOSSES = ("val_loss", "train_loss")
TOLERANCE = 0.05  # of a loss, between machines
# What train_speed.json says about the machine: where all of it is equal, equal bytes are promised.
MACHINE = ("device", "precision", "compiled", "threads", "processes", "kernels", "cpu")

Stages = Mapping[str, Any]  # what dvc.lock records of each


class _Row(NamedTuple):
    name: str
    recorded: str
    here: str
    matches: bool


def verify() -> int:
    """Train again as dvc.lock records it and print how the result compares; on success, delete it and return 0.

    Raises:
        ConfigurationError: dvc.lock, the metrics and the parameters are not those of one run.
        ValidationError: the result differs.
        Interrupted: a signal stopped it.
        SystemExit: a stage failed; it has printed why, and the code is its own.
    """
    config = load_config()
    recorded = _recorded_stages()
    _require_up_to_date(recorded, config)
    if config.train.max_minutes:
        steps = read_json(Artifacts().train_metrics)["steps"]
        raise ConfigurationError(
            f"train.max_minutes is {config.train.max_minutes:g}: how many steps fit into them differs from run to run",
            remedy=f"train the run that can be repeated: dvc exp run -S train.max_minutes=0 -S train.max_steps={steps}",
        )
    speed, losses = (read_json(path) for path in METRICS)
    scratch = Artifacts(SCRATCH, config.tokenizer.name)
    if not unfinished_runs(scratch.checkpoints, config):  # a finished run would be taken from its checkpoint
        shutil.rmtree(SCRATCH, ignore_errors=True)
    inputs, rebuilt = _prepare_inputs(recorded, scratch)
    print(f"Training into {SCRATCH}; the recorded run took {speed['total_seconds'] / 60:.1f} minutes.")
    _run_stage("train", "--data-dir", str(inputs), "--output-dir", str(SCRATCH))
    _conclude(recorded, [*rebuilt, "train"], speed, losses)
    shutil.rmtree(SCRATCH)
    return 0


def _recorded_stages() -> Stages:
    """Return what dvc.lock records of the stages. Raises ConfigurationError if it cannot be read or lacks a stage."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
        return {stage: stages[stage] for stage in RETRAINED}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{LOCK} has no record of a training run to compare with: {type(error).__name__}: {error}",
            remedy=f"git checkout {LOCK}, or make train",
        ) from error


def _require_up_to_date(recorded: Stages, config: Config) -> None:
    """Raise ConfigurationError with all changes of parameters, code and metrics since dvc.lock was written."""
    now, changes = config.model_dump(mode="json", by_alias=True), []
    for stage, entries in json.loads(output_of("dvc", "status", "--json", *RETRAINED)).items():
        then = recorded[stage].get("params", {}).get(str(PARAMS), {})
        for entry in entries:
            found = ChainMap(*entry.values()) if isinstance(entry, dict) else {f"stage {stage}": entry}
            for name, change in found.items():
                if isinstance(change, dict):
                    here = {key: reduce(getitem, key.split("."), now) for key in change}
                    changes += [f"{key}: {then.get(key)!r} in {LOCK}, {here[key]!r} in {name}" for key in change]
                elif DATA not in Path(name).parents or Path(name) in METRICS:  # other data is compared by its hashes
                    changes.append(f"{name}: {change}")
    if changes:
        lines = "\n".join(f"  - {change}" for change in dict.fromkeys(changes))  # several stages share some
        raise ConfigurationError(
            f"{LOCK} was written with other parameters, code or metrics:\n{lines}",
            remedy="dvc repro trains with the current ones; or undo the changes, which git diff shows",
        )


def _prepare_inputs(recorded: Stages, scratch: Artifacts) -> tuple[Path, list[str]]:
    """Return the folder with the recorded token files, data/ or the scratch folder, and the stages run to make them."""
    inputs, rebuilt = DATA, []
    if not _match(_hashes(recorded["train"]["deps"]), DATA):
        inputs, rebuilt = SCRATCH, ["download", "tokenizer"]
        if Artifacts().raw_books.is_dir():  # nothing is downloaded twice
            shutil.copytree(Artifacts().raw_books, scratch.raw_books, dirs_exist_ok=True)
        _run_stage("download", "--data-dir", str(SCRATCH))
        _require_recorded_corpus(recorded, scratch)
        _run_stage("tokenizer", "--data-dir", str(SCRATCH))
    comparison = "match" if _match(_hashes(recorded["train"]["deps"]), inputs) else "DIFFER FROM"
    print(f"inputs: the tokenizer and the token files in {inputs} {comparison} {LOCK}")
    return inputs, rebuilt


def _require_recorded_corpus(recorded: Stages, scratch: Artifacts) -> None:
    """Raise ValidationError if the corpus in the scratch folder is not the recorded one: no machine excuses that."""
    row = _compare_hash(Artifacts().corpus, _hashes(recorded["download"]["outs"])[Artifacts().corpus])
    if row.matches:
        return
    manifest = read_manifest(scratch.corpus_manifest)
    why, remedy = "", f"see {scratch.corpus_manifest} for its documents; dvc repro trains on the current corpus"
    if manifest.fallback:
        why = f": {manifest.reason}, so the primer was used instead"
        remedy = "connect to the network, or set GUTENBERG_MIRRORS, then: make verify"
    raise ValidationError(
        f"nothing was trained or compared, because the corpus differs{why}\n"
        f"  {row.name}: {row.recorded} in {LOCK}, {row.here} ({manifest.source}) here",
        remedy=remedy,
    )


def _conclude(recorded: Stages, stages: Sequence[str], recorded_speed: Any, recorded_losses: Any) -> None:
    """Compare what the stages made with the record: bytes on an equal machine, losses elsewhere."""
    speed, losses = (read_json(SCRATCH / path.relative_to(DATA)) for path in METRICS)
    then, now = ({key: machine.get(key) for key in MACHINE} for machine in (recorded_speed, speed))
    differing = [f"{key} {then[key]} recorded, {now[key]} here" for key in MACHINE if then[key] != now[key]]
    if len(then["kernels"] or ()) > 1:  # however often it is repeated, such a run does not give the same bytes
        differing = differing or ["the recorded run was resumed on other kernels"]
    if differing:
        kind, machine = f"losses within {TOLERANCE:.0%}", f"another machine ({'; '.join(differing)})"
        rows = [_compare_loss(name, recorded_losses[name], losses[name]) for name in LOSSES]
    else:
        kind, machine = "bytes", f"this machine ({', '.join(f'{key} {value}' for key, value in now.items())})"
        rows = [_compare_hash(*out) for stage in stages for out in _hashes(recorded[stage]["outs"]).items()]
    print(f"\nComparing {kind}: the recorded run was made on {machine}.")
    for row in rows:
        print(f"  {row.name:28} {row.recorded} recorded, {row.here} here: {'matches' if row.matches else 'DIFFERS'}")
    if wrong := [row.name for row in rows if not row.matches]:
        raise ValidationError(
            f"NOT verified: {len(wrong)} of {len(rows)} differ, comparing {kind}: {', '.join(wrong)}",
            remedy=f"inspect the new files in {SCRATCH}; to train again and record the result: dvc repro --force",
        )
    print(f"Verified: all {len(rows)} match, comparing {kind}.")


def _compare_hash(path: Path, recorded: str) -> _Row:
    here = md5_of(SCRATCH / path.relative_to(DATA))
    return _Row(str(path), recorded[:10], here[:10] or "missing", here == recorded)


def _compare_loss(name: str, recorded: float, here: float) -> _Row:
    change = here / recorded - 1
    return _Row(name, f"{recorded:.4f}", f"{here:.4f} ({change:+.2%})", abs(change) <= TOLERANCE)


def _hashes(entries: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Return the recorded hashes of the results below data/, train_speed.json aside: it differs between runs."""
    found = {Path(entry["path"]): entry["md5"] for entry in entries}
    aside = (Artifacts().train_speed, Artifacts().files_record, Artifacts().model_record)
    return {path: md5 for path, md5 in found.items() if DATA in path.parents and path not in aside}


def _match(recorded: Mapping[Path, str], folder: Path) -> bool:
    return all(md5_of(folder / path.relative_to(DATA)) == md5 for path, md5 in recorded.items())


def md5_of(path: Path) -> str:
    """Return the hash that DVC gives a file or a folder, or an empty text if there is neither."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        listing = json.dumps([{"md5": md5_of(file), "relpath": name} for name, file in files])
        return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
    return md5_of_file(path) if path.exists() else ""


def _run_stage(stage: str, *flags: str) -> None:
    """Run a stage script as a user does; a signal makes it save and end. Raises as `verify`."""
    code = run_stages(["python", f"stages/{stage}.py", *flags])
    if code > 128:
        how = "interrupted" if code == EXIT_INTERRUPTED else "killed"
        raise Interrupted(f"{stage} was {how}", remedy="make verify resumes it")
    if code:
        raise SystemExit(code)
