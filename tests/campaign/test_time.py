"""An hour's worth of epochs in one process."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.training import train as stage
from minimal_llm.training.checkpoint import Checkpoints, State
from tests.support.campaign import Count
from tests.support.stages import copy_folder
from tests.support.training_runs import read, tiny_config

EPOCHS = 100  # the most there can be; with 36 s for an epoch of real books, an hour
WARM = 10  # epochs after which memory has settled


@pytest.mark.long
def test_memory_is_flat_over_an_hour_of_epochs(
    tokens_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    folder = copy_folder(tokens_folder, tmp_path)
    config = tiny_config("train", epochs=EPOCHS, batch_size=32, checkpoint_every_seconds=0.5)
    used: dict[int, list[int]] = {}
    saved, save = 0, Checkpoints.save

    def measured(checkpoints: Checkpoints, state: State, global_step: int) -> Path:
        nonlocal saved
        saved += 1
        path = save(checkpoints, state, global_step)
        used.setdefault(state.progress.epoch, []).append(psutil.Process(os.getpid()).memory_info().rss)
        return path

    monkeypatch.setattr(Checkpoints, "save", measured)
    stage.train(config, Artifacts(folder), Artifacts(folder))
    history = read(folder / "training_metrics.json")["epoch_history"]
    assert len(history) == EPOCHS
    settled, end = max(used[WARM]), max(used[EPOCHS])
    assert end <= 1.02 * settled, f"{settled / 1e6:.1f} MB after {WARM} epochs, {end / 1e6:.1f} MB at the end"
    count("Time and memory", f"{EPOCHS} epochs in one process, {saved} checkpoints", "memory flat within 2 %", EPOCHS)
