"""Unfinished training runs on disk: their parameters, and how far they got. Does not import torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.config import Config, flatten
from minimal_llm.common.files import read_record, write_json

# How often checkpoints are written, and how many are kept, does not affect the result of a run.
SHAPES_NO_RESULT = frozenset(
    {"train.checkpoint_every_epochs", "train.checkpoint_every_seconds", "train.keep_checkpoints"}
)
# These identify a run by their resolved values (compute.Compute), not by what params.yaml asks for ("auto").
RESOLVED = frozenset({"train.threads", "train.precision", "train.compile", "train.device"})


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that has a checkpoint but did not finish."""

    folder: Path
    epochs_done: float
    epochs: int


def run_parameters(config: Config) -> dict[str, Any]:
    """Return the parameters that determine the result of a run, by their dotted names."""
    sections = ("model.", "train.", "seed")
    flat = flatten(config)
    return {
        key: flat[key] for key in sorted(flat) if key.startswith(sections) and key not in SHAPES_NO_RESULT | RESOLVED
    }


def describe_run(folder: Path, config: Config, steps_per_epoch: int) -> None:
    """Write run.json next to the checkpoints of a run, so that `unfinished_runs` can identify it later."""
    write_json(folder / "run.json", {"parameters": run_parameters(config), "steps_per_epoch": steps_per_epoch})


def unfinished_runs(root: Path, config: Config) -> list[UnfinishedRun]:
    """Return the unfinished runs with these parameters, most advanced first."""
    found = []
    for folder in root.glob("*"):
        steps = [int(path.stem.removeprefix("step_")) for path in folder.glob("step_*.pt")]
        description = read_record(folder / "run.json")
        if steps and description.get("parameters") == run_parameters(config) and not (folder / "finished").exists():
            per_epoch = description.get("steps_per_epoch")
            done = max(steps) / per_epoch if isinstance(per_epoch, int) and per_epoch > 0 else 0.0
            found.append(UnfinishedRun(folder, done, config.train.epochs))
    return sorted(found, key=lambda run: run.epochs_done, reverse=True)


def discard(run: UnfinishedRun) -> None:
    """Delete the checkpoints of a run, so that it starts from scratch."""
    shutil.rmtree(run.folder)
