"""The identity of a run: the run id in its results, and the fingerprint that names its checkpoint folder."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pathspec
import yaml

from minimal_llm.common.artifacts import DATA
from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import read_record, sha256_of_file
from minimal_llm.common.unfinished_runs import FINISHED, checkpoint_files, run_parameters
from minimal_llm.tokenizer.token_files import TokenFiles
from minimal_llm.training.checkpoint import Checkpoints

CLONE = Path(__file__).resolve().parents[3]  # the repository of the running code, which may be a copy made by DVC
_NAMESPACE = uuid.UUID("7b0a4f54-3c1e-5d0e-9a55-4d3f2b6c1a10")


def run_inputs(config: Config, tokens: TokenFiles) -> dict[str, Any]:
    """Return everything that determines a run except the machine: parameters, initial weights, tokens, tokenizer, code.

    Raises:
        TrainingError: dvc.yaml does not list the training code.
    """
    given = {"init_from_sha256": config.train.init_from, "extend_from_sha256": config.train.extend_from}
    return {
        "parameters": run_parameters(config),
        **{key: sha256_of_file(Path(name)) if name else "" for key, name in given.items()},
        **{f"{split}_sha256": sha256 for split, sha256 in tokens.sha256.items()},
        "tokenizer_sha256": tokens.meta.tokenizer_sha256,
        "sources": training_sources(CLONE),
    }


def training_sources(clone: Path) -> dict[str, str]:
    """Return the SHA-256 of every source file that stage train depends on in dvc.yaml, by its path in the clone.

    So a run can be resumed exactly as long as DVC considers the code of the stage unchanged.

    Raises:
        TrainingError: dvc.yaml is missing or does not describe stage train.
    """
    pipeline = clone / "dvc.yaml"
    try:
        entries = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"]["train"]["deps"]
        ignored = (clone / ".dvcignore").read_text(encoding="utf-8").splitlines()
    except (OSError, LookupError, TypeError, yaml.YAMLError) as error:
        raise TrainingError(
            f"cannot read the dependencies of stage train from {pipeline} and .dvcignore next to it: {error!r}",
            remedy="git checkout dvc.yaml .dvcignore; train from a clone, installed with: pip install -e .",
            kind="configuration",
        ) from error
    ignore = pathspec.GitIgnoreSpec.from_lines(ignored)
    code = [clone / entry for entry in entries if DATA not in Path(entry).parents]
    return {file.relative_to(clone).as_posix(): sha256_of_file(file) for path in code for file in _files(path, ignore)}


def run_id(inputs: Mapping[str, Any]) -> str:
    """Return the run id, a name-based UUID: equal inputs give equal ids."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(inputs, sort_keys=True)))


def fingerprint(inputs: Mapping[str, Any], compute: Compute) -> str:
    """Return 32 hex digits: equal exactly if one run can resume the other's checkpoint.

    The result is that of an uninterrupted run if the kernels are equal as well (kernels.name_kernels).
    """
    content = json.dumps({**inputs, "compute": asdict(compute)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def unresumed(root: Path, run: str, compute: Compute) -> str:
    """Return a notice of unfinished runs below `root` with the same run id but other resolved settings, or ""."""
    lines = []
    for _, steps, record, changed in _unfinished(root, run, compute):
        differences = ", ".join(f"{key} {value} there, {getattr(compute, key)} here" for key, value in changed.items())
        flags = " ".join(f"-S {_setting(key, value)}" for key, value in changed.items())
        done = steps / record["steps_per_epoch"]
        lines.append(
            f"Not resuming an unfinished run with the same inputs ({done:.1f} epochs done): {differences}. "
            f"To resume it: dvc exp run {flags}"
        )
    return "\n".join(lines)


def of_another_team(root: Path, run: str, compute: Compute) -> Checkpoints | None:
    """Return the checkpoints of the same run by another number of processes, which this one can continue, or None.

    Its result will be as good but not byte-identical, as on other kernels: gradients are summed in another order.
    """
    resumable = [
        (steps, folder.name)
        for folder, steps, _, changed in _unfinished(root, run, compute)
        if "processes" in changed and changed.keys() <= {"processes", "threads"}
    ]
    return Checkpoints(root, max(resumable)[1]) if resumable else None


def _unfinished(root: Path, run: str, compute: Compute) -> Iterator[tuple[Path, int, dict[str, Any], dict[str, Any]]]:
    """Yield folder, steps, record and differing settings of the unfinished runs with this id but other settings."""
    ours = asdict(compute)
    for folder in sorted(root.glob("*")):
        record = read_record(folder / "run.json")
        theirs = record.get("compute", ours)
        changed = {key: value for key, value in theirs.items() if key in ours and ours[key] != value}
        steps = checkpoint_files(folder)
        if record.get("run_id") == run and changed and steps and not (folder / FINISHED).exists():
            yield folder, max(steps), record, changed


def _setting(key: str, value: Any) -> str:
    """Return the parameter that resolves to a value of Compute."""
    if key == "compiled":
        return f"train.compile={'always' if value else 'never'}"
    return f"train.{key}={value}"


def _files(path: Path, ignore: pathspec.GitIgnoreSpec) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (path / name for name in sorted(ignore.match_tree_files(path, negate=True)))
