"""Resumable state on disk: a folder a run, named by the fingerprint of everything that shapes the run.

data/checkpoints/<fingerprint>/step_00000660.pt, the newest one to go on from, and `finished` when the run is done.
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
    """How far a run is: `step` steps of `epoch` (from 0) are done, and what has been recorded."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    gradient_norm_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # spent so far, by what on
    epoch_seconds: list[float] = field(default_factory=list)  # of the run, when each epoch was done
    best_epoch: int = 0
    best_val_loss: float = float("inf")


@dataclass
class State:
    """All that a run needs to go on. Random numbers are not among it: each step seeds its own."""

    progress: Progress
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    best_weights: dict[str, torch.Tensor]


def checkpoint_root(outputs: Artifacts) -> Path:
    """Return the folder of all runs: in the parent repository for `dvc exp run --temp` and for the queue.

    Those work in a copy of the repository that is thrown away; DVC_ROOT names the parent even there.
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
    def only_trainer(self) -> Iterator[None]:
        """Hold the lock of this run.

        Raises:
            TrainingError: another process trains it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = self.folder / "pid"
        lock = filelock.FileLock(self.folder / "lock", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            pid = owner.read_text(encoding="ascii").strip() if owner.exists() else "unknown"
            raise TrainingError(
                f"another trainer (pid {pid}) is at work on this run, {self.folder}",
                remedy=f"wait for it, or stop it: kill {pid}",
                kind="configuration",
            ) from None
        try:
            write_text(owner, f"{os.getpid()}\n")
            for torn in self.folder.glob(".*.tmp"):  # whoever is killed while writing leaves one of full size
                torn.unlink()
            yield
        finally:
            lock.release()

    def newest(self) -> State | None:
        """Return the newest checkpoint that is whole, or None; a damaged one is named on stderr and passed over."""
        for path in sorted(self.folder.glob("step_*.pt"), reverse=True):
            try:
                return self._load(path)
            except ValidationError as error:
                print(f"warning: passing over checkpoint {path.name}: {error.message}", file=sys.stderr)
        return None

    def save(self, state: State, global_step: int) -> Path:
        """Write a checkpoint.

        Raises:
            TrainingError: the disk is full; the checkpoints before this one are intact.
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
                remedy="free some disk space, then run the same command again: it goes on from the checkpoint before",
                kind="disk_space",
            ) from error
        return path

    def prune(self, newest: int, last_step: int, keep_steps: set[int]) -> None:
        """Delete all checkpoints up to `last_step` but so many of the newest (at least one) and the given steps.

        Those after it were passed over as damaged when the run was gone on with: they are none of the newest.
        """
        paths = {int(path.stem.removeprefix("step_")): path for path in self.folder.glob("step_*.pt")}
        for step in sorted(step for step in paths if step <= last_step)[:-newest]:
            if step not in keep_steps:
                paths[step].unlink()

    def _load(self, path: Path) -> State:
        content = load_tensors(path)
        try:
            if content["run"] == self.folder.name:
                return State(
                    Progress(**content["progress"]), content["model"], content["optimizer"], content["best_weights"]
                )
        except (KeyError, TypeError):
            pass
        raise ValidationError(f"{path} is no checkpoint of this run", remedy=RETRAIN)

    def finish(self) -> None:
        """Mark the run as done: it will not be gone on with."""
        write_text(self.folder / "finished", "")

    def clear_finished(self) -> None:
        """Delete the folders of runs that are done: a run starts with them out of the way."""
        for marker in self._root.glob("*/finished"):
            shutil.rmtree(marker.parent, ignore_errors=True)  # another run may be at it too
