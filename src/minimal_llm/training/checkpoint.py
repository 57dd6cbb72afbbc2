"""Checkpoints: the resumable state of training runs on disk.

Each run has a folder named by its fingerprint: data/checkpoints/<fingerprint>/step_00000660.pt. A run resumes from its
newest checkpoint. A file named `finished` marks a completed run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import filelock
import torch

from minimal_llm.common.artifacts import DATA, Artifacts
from minimal_llm.common.errors import TrainingError, ValidationError
from minimal_llm.common.files import write_bytes, write_text
from minimal_llm.model.model_file import RETRAIN, load_tensors, to_bytes


@dataclass
class Progress:
    """How far a run has got: `epoch` full epochs and `step` steps of the next one, and the metrics recorded so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
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
    parent = os.environ.get("DVC_ROOT")
    if parent is None or outputs.root != DATA:
        return outputs.checkpoints
    return Path(parent) / outputs.checkpoints


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, root: Path, run: str) -> None:
        self.folder = root / run
        self._root = root

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this run, so that only one process trains it.

        Raises:
            TrainingError: another process is training it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = self.folder / "pid"
        lock = filelock.FileLock(self.folder / "lock", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            pid = owner.read_text(encoding="ascii").strip() if owner.exists() else "unknown"
            raise TrainingError(
                f"another process (pid {pid}) is already training this run, {self.folder}",
                remedy=f"wait for it to finish, or stop it: kill {pid}",
                kind="configuration",
            ) from None
        try:
            write_text(owner, f"{os.getpid()}\n")
            for partial in self.folder.glob(".*.tmp"):  # left by a process that was killed while writing a checkpoint
                partial.unlink()
            yield
        finally:
            lock.release()

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
        paths = {int(path.stem.removeprefix("step_")): path for path in self.folder.glob("step_*.pt")}
        for step in sorted(step for step in paths if step <= last_step)[:-newest]:
            if step not in keep_steps:
                paths[step].unlink()

    def finish(self) -> None:
        """Mark the run as complete, so that it is not resumed."""
        write_text(self.folder / "finished", "")

    def clear_finished(self) -> None:
        """Delete the checkpoint folders of all completed runs."""
        for marker in self._root.glob("*/finished"):
            shutil.rmtree(marker.parent, ignore_errors=True)  # another process may be deleting it too

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
