"""Checkpoints: the resumable state of training runs on disk.

Each run has a folder named by its fingerprint: data/checkpoints/<fingerprint>/step_00000660.pt. A run resumes from its
newest checkpoint. A file named `finished` marks a completed run. Its last checkpoint stays for a while: if DVC does not
get to record the results, they are written again from it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import TrainingError, ValidationError
from minimal_llm.common.files import read_record, write_bytes, write_json, write_text
from minimal_llm.common.unfinished_runs import FINISHED, KEPT_FINISHED, checkpoint_files, lock_run
from minimal_llm.model.model_file import RETRAIN, load_tensors, to_bytes


@dataclass
class Progress:
    """How far a run has got: `epoch` full epochs and `step` steps of the next one, and the metrics recorded so far."""

    epoch: int = 0
    step: int = 0
    gradient_norm_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # time spent so far, by activity (metrics.ACTIVITIES)
    epoch_seconds: list[float] = field(default_factory=list)  # time since the start of the run at the end of each epoch
    best_epoch: int = 0
    best_val_loss: float = float("inf")
    steps_diverged: int = 0  # in a row, up to the last step
    kernels: list[str] = field(default_factory=list)  # that computed the steps so far (kernels.name_kernels)

    def add_kernels(self, name: str) -> None:
        """Record the kernels that compute the steps from now on."""
        if self.kernels[-1:] != [name]:
            self.kernels = [*self.kernels, name]


@dataclass
class State:
    """Everything needed to resume a run. There is no random number state: each step derives its own seeds."""

    progress: Progress
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    best_weights: dict[str, torch.Tensor]


def checkpoint_root(outputs: Artifacts) -> Path:
    """Return the folder that holds the checkpoints of all runs.

    `dvc exp run --temp` and the experiment queue work in a temporary copy of the repository. DVC_ROOT points to the
    original repository even there, and checkpoints go there to outlive the copy.
    """
    return Path(os.environ["DVC_ROOT"]) / outputs.checkpoints if outputs.in_pipeline else outputs.checkpoints


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, root: Path, run: str) -> None:
        self.folder = root / run
        self._root = root
        self._mark = self.folder / FINISHED

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this run, so that only one process trains it.

        Raises:
            TrainingError: another process is training it.
        """
        with lock_run(self.folder):
            write_text(self.folder / "pid", f"{os.getpid()}\n")
            for partial in self.folder.glob(".*.tmp"):  # left by a process that was killed while writing a checkpoint
                partial.unlink()
            yield

    def newest(self) -> State | None:
        """Return the newest intact checkpoint, or None. Damaged ones are skipped with a warning on stderr."""
        for path in sorted(self.folder.glob("step_*.pt"), reverse=True):
            try:
                return self._load(path)
            except ValidationError as error:
                print(f"warning: skipping checkpoint {path.name}: {error.message}", file=sys.stderr)
        return None

    def save(self, state: State, global_step: int) -> Path:
        """Write a checkpoint.

        Raises:
            TrainingError: it cannot be written, for example because the disk is full. Earlier checkpoints are intact.
        """
        path = self.folder / f"step_{global_step:08d}.pt"
        content = to_bytes(
            {
                "run": self.folder.name,
                "progress": asdict(state.progress),
                "model": state.model,
                "optimizer": state.optimizer,
                "best_weights": state.best_weights,
            }
        )
        try:
            write_bytes(path, content)
        except OSError as error:
            raise TrainingError(
                f"checkpoint {path} ({len(content) / 1e6:.0f} MB) cannot be written: {error.strerror}",
                remedy="free some disk space, then run the same command again: it resumes from the previous checkpoint",
                kind="disk_space",
            ) from error
        return path

    def prune(self, newest: int, last_step: int, keep_steps: set[int]) -> None:
        """Delete checkpoints up to `last_step`, except the `newest` most recent ones (at least 1) and `keep_steps`.

        Checkpoints after `last_step` were skipped as damaged when the run resumed, so they do not count as recent.
        """
        paths = checkpoint_files(self.folder)
        for step in sorted(step for step in paths if step <= last_step)[:-newest]:
            if step not in keep_steps:
                paths[step].unlink()

    def finish(self, speed: Mapping[str, Any]) -> None:
        """Mark the run as complete, with the only result that its last checkpoint lacks."""
        write_json(self._mark, speed)

    def finished_speed(self) -> dict[str, Any]:
        """Return what `finish` was given; empty if the run is not complete."""
        return read_record(self._mark)

    def reopen(self) -> None:
        """Take the mark of a complete run away, if there is one."""
        self._mark.unlink(missing_ok=True)

    def clear_finished(self) -> None:
        """Delete all other completed runs except the last checkpoints of the latest KEPT_FINISHED.

        A run stays as it is while a process writes its results again.
        """
        marks = [mark for mark in self._root.glob(f"*/{FINISHED}") if mark != self._mark]
        for age, mark in enumerate(sorted(marks, key=_written_at, reverse=True)):
            with suppress(TrainingError), lock_run(mark.parent):
                if age >= KEPT_FINISHED:
                    shutil.rmtree(mark.parent, ignore_errors=True)
                else:
                    for earlier in sorted(mark.parent.glob("step_*.pt"))[:-1]:
                        earlier.unlink()

    def _load(self, path: Path) -> State:
        content = load_tensors(path)
        try:
            if content["run"] == self.folder.name:
                return State(
                    Progress(**content["progress"]), content["model"], content["optimizer"], content["best_weights"]
                )
        except (KeyError, TypeError):
            pass
        raise ValidationError(f"{path} is not a checkpoint of this run", remedy=RETRAIN)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just deleted it
        return 0.0
