"""Training runs on disk: their parameters, how far they got, and who trains them. Does not import torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from minimal_llm.common.config import Config, flatten
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import read_record, write_json

FINISHED = "finished"  # the file that marks a run as complete
KEPT_FINISHED = 3  # last checkpoints of other complete runs: DVC may not have recorded one that was trained in parallel
# How often checkpoints are written, and how many are kept, does not affect the result of a run.
SHAPES_NO_RESULT = frozenset(
    {"train.checkpoint_every_epochs", "train.checkpoint_every_seconds", "train.keep_checkpoints"}
)
# These identify a run by their resolved values (compute.Compute), not by what params.yaml asks for ("auto").
RESOLVED = frozenset({"train.processes", "train.threads", "train.precision", "train.compile", "train.device"})


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that has a checkpoint but did not finish."""

    folder: Path
    epochs_done: float
    epochs: float


def run_parameters(config: Config) -> dict[str, Any]:
    """Return the parameters that determine the result of a run, by their dotted names."""
    sections = ("model.", "train.", "seed")
    flat = flatten(config)
    return {
        key: flat[key] for key in sorted(flat) if key.startswith(sections) and key not in SHAPES_NO_RESULT | RESOLVED
    }


def describe_run(folder: Path, config: Config, steps_per_epoch: int, **identity: Any) -> None:
    """Write run.json next to the checkpoints of a run, so that it can be identified later."""
    parameters = run_parameters(config)
    write_json(folder / "run.json", {"parameters": parameters, "steps_per_epoch": steps_per_epoch, **identity})


def unfinished_runs(root: Path, config: Config) -> list[UnfinishedRun]:
    """Return the unfinished runs with these parameters, most advanced first."""
    found = []
    for folder, steps_per_epoch in _runs(root, config):
        steps = checkpoint_files(folder)
        if steps and not (folder / FINISHED).exists():
            epochs = min(config.train.epochs, config.train.max_steps / steps_per_epoch or config.train.epochs)
            found.append(UnfinishedRun(folder, max(steps) / steps_per_epoch, epochs))
    return sorted(found, key=lambda run: run.epochs_done, reverse=True)


def checkpoint_files(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a run by the number of steps that they were written after."""
    return {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.pt")}


def finished_runs(root: Path, config: Config) -> list[Path]:
    """Return the folders of the finished runs with these parameters."""
    return [folder for folder, _ in _runs(root, config) if (folder / FINISHED).exists()]


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the lock of a run, which whoever trains or deletes it must have.

    Raises:
        TrainingError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        owner = folder / "pid"
        pid = owner.read_text(encoding="ascii").strip() if owner.exists() else "unknown"
        raise TrainingError(
            f"another process (pid {pid}) is already training this run, {folder}",
            remedy=f"wait for it to finish, or stop it: kill {pid}",
            kind="configuration",
        ) from None
    try:
        yield
    finally:
        lock.release()


def discard(folders: Iterable[Path]) -> None:
    """Delete the checkpoints of runs, so that they start from scratch: all of them, or on an error none.

    Raises:
        TrainingError: a process is training one of them.
    """
    with ExitStack() as locks:
        for folder in (found := list(folders)):
            locks.enter_context(lock_run(folder))
        for folder in found:
            shutil.rmtree(folder)


def _runs(root: Path, config: Config) -> Iterator[tuple[Path, int]]:
    """Yield the folder of each run with these parameters, and its number of steps per epoch."""
    parameters = run_parameters(config)
    for description in root.glob("*/run.json"):
        content = read_record(description)
        steps = content.get("steps_per_epoch")
        if content.get("parameters") == parameters and isinstance(steps, int) and steps > 0:
            yield description.parent, steps
