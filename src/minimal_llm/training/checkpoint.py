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
from minimal_llm.common.files import read_record, remove_leftovers, write_json, write_text
from minimal_llm.common.unfinished_runs import FINISHED, KEPT_FINISHED, checkpoint_files, lock_run
from minimal_llm.model.model_file import RETRAIN, load_tensors, write_tensors
from minimal_llm.model.transformer import Architecture
from minimal_llm.training.step_record import Row


@dataclass
class Progress:
    """How far a run has got, `step` steps since its start, and the metrics recorded so far.

    Epochs are numbers of them that are done: 3, or 3.25 for an evaluation within the fourth.
    """

    step: int = 0
    gradient_norm_sum: float = 0.0  # since the last evaluation
    history: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)  # step_record.py
    seconds: dict[str, float] = field(default_factory=dict)  # time spent so far, by activity (metrics.ACTIVITIES)
    epoch_seconds: list[float] = field(default_factory=list)  # time since the start of the run, for each row of history
    best_epoch: float = 0
    best_val_loss: float = float("inf")
    steps_diverged: int = 0  # in a row, up to the last step
    kernels: list[str] = field(default_factory=list)  # that computed the steps so far (kernels.name_kernels)
    planned_steps: int = 0  # so many fit into train.max_minutes at the latest count; 0 without that limit
    extended_at: int = 0  # the step at which the run that this one extends had ended, and its last learning rate
    extended_rate: float = 0.0

    @property
    def evaluated_at(self) -> int:
        """The step of the last evaluation."""
        return self.history[-1]["step"] if self.history else 0

    def add_kernels(self, name: str) -> None:
        """Record the kernels that compute the steps from now on."""
        if self.kernels[-1:] != [name]:
            self.kernels = [*self.kernels, name]


@dataclass
class State:
    """Everything needed to resume a run. There is no random number state: each step derives its own seeds.

    `trained` describes what was trained, so that another run can find out whether it may extend this one.
    """

    progress: Progress
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    best_weights: dict[str, torch.Tensor]
    trained: dict[str, Any]


def what_is_trained(architecture: Architecture, tokenizer_sha256: str, steps_per_epoch: int = 0) -> dict[str, Any]:
    """Return what two runs must have in common for one to start from the other's weights, or to extend it.

    No weight depends on the length of windows. Only a run that is extended needs epochs of the same number of steps.
    """
    sizes = {key: value for key, value in asdict(architecture).items() if key != "max_seq_length"}
    steps = {"steps per epoch": steps_per_epoch} if steps_per_epoch else {}
    return {"tokenizer": tokenizer_sha256[:12], **sizes, **steps}


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
            remove_leftovers(self.folder / "*")
            yield

    def newest(self) -> State | None:
        """Return the newest intact checkpoint, or None. Damaged ones are skipped with a warning on stderr."""
        for path in sorted(self.folder.glob("step_*.pt"), reverse=True):
            try:
                return read_checkpoint(path, self.folder.name)
            except ValidationError as error:
                print(f"warning: skipping checkpoint {path.name}: {error.message}", file=sys.stderr)
        return None

    def read(self, step: int) -> State:
        """Return the checkpoint of a step.

        Raises:
            ValidationError: it is missing or damaged.
        """
        return read_checkpoint(self.folder / f"step_{step:08d}.pt", self.folder.name)

    def save(self, state: State) -> Path:
        """Write a checkpoint.

        Raises:
            TrainingError: it cannot be written, for example because the disk is full. Earlier checkpoints are intact.
        """
        path = self.folder / f"step_{state.progress.step:08d}.pt"
        content = {"run": self.folder.name, **vars(state), "progress": vars(state.progress)}
        try:
            write_tensors(path, content)
        except OSError as error:
            raise TrainingError(
                f"checkpoint {path} cannot be written: {error.strerror}",
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

    def take_over(self, other: Checkpoints) -> State | None:
        """Return the newest checkpoint of another folder, which becomes one of this run's; the folder is deleted."""
        with lock_run(other.folder):
            if state := other.newest():
                self.save(state)
            shutil.rmtree(other.folder)
        return state


def read_checkpoint(path: Path, run: str = "") -> State:
    """Return the checkpoint in a file.

    Raises:
        ValidationError: it cannot be read, is damaged, or is not one of the run with this fingerprint, if one is given.
    """
    content = load_tensors(path)
    try:
        if content.pop("run") == run or not run:
            return State(**content | {"progress": Progress(**content["progress"])})
    except (AttributeError, KeyError, TypeError):
        pass
    raise ValidationError(f"{path} is not a checkpoint of this run", remedy=RETRAIN)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just deleted it
        return 0.0
