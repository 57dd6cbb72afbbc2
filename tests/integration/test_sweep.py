"""`make sweep`: the queue of DVC, stopped in the middle and gone on with, in a clone of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from minimal_llm.common.system import physical_cores
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv
GRID = {"train.epochs": 10, "train.threads": "auto", "train.learning_rate": [0.001, 0.003], "train.dropout": [0, 0.2]}
SWEEP = ("make", "sweep", "GRID=grid.yaml", "JOBS=2")
LIMIT_SECONDS = 900


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("sweep"))
    (clone.folder / "grid.yaml").write_text(yaml.safe_dump(GRID), encoding="utf-8")
    return clone


def workers(clone: Clone) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if "queue-worker" in process.cmdline() and process.cwd() == str(clone.folder):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def sweep(clone: Clone, log: Path, stop_at: str = "") -> str:
    """Run a sweep, with Ctrl+C as soon as it has printed what a pattern finds, and return all that it printed."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            SWEEP,
            cwd=clone.folder,
            env=clone.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if stop_at:
            deadline = time.monotonic() + LIMIT_SECONDS
            while re.search(stop_at, log.read_text(encoding="utf-8")) is None:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        code = process.wait(timeout=LIMIT_SECONDS)
    printed = log.read_text(encoding="utf-8")
    assert (code != 0) == bool(stop_at), printed
    return printed


def test_a_sweep_that_was_stopped_goes_on_and_runs_every_combination_once(clone: Clone, tmp_path: Path) -> None:
    # Not epoch 2 alone: on a fast machine an epoch is shorter than the time between two looks of the sweep.
    stopped = sweep(clone, tmp_path / "stopped.log", stop_at=r"epoch +[2-9]/10")
    assert "the sweep stopped with 0 of 4 experiments done" in stopped
    assert "make sweep GRID=grid.yaml JOBS=2 goes on from there" in stopped
    assert "Traceback" not in stopped
    assert workers(clone) == []
    assert "No experiment tasks in the queue" in clone.run("dvc", "queue", "status")
    assert clone.git("status", "--porcelain", "--untracked-files=no") == ""
    assert list(clone.folder.glob("data/checkpoints/*/step_*.pt"))

    finished = sweep(clone, tmp_path / "finished.log")
    assert finished.count("validation loss") == 4
    assert workers(clone) == []
    found = clone.experiments()
    assert sorted(name.rpartition("/")[2][:-7] for name in found) == [
        "dropout-0.0-learning_rate-0.001",
        "dropout-0.0-learning_rate-0.003",
        "dropout-0.2-learning_rate-0.001",
        "dropout-0.2-learning_rate-0.003",
    ]
    logs = [clone.run("dvc", "queue", "logs", name.rpartition("/")[2]) for name in found]
    assert any("Resuming from epoch" in log for log in logs)
    threads = max(1, physical_cores() // 2)
    for name, log in zip(found, logs, strict=True):
        assert yaml.safe_load(clone.git("show", f"{name}:params.yaml"))["train"]["threads"] == threads
        assert f"{threads} threads" in log

    again = sweep(clone, tmp_path / "again.log")
    assert "4 known, 0 in the queue, 0 to queue" in again
    assert clone.experiments() == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train.epoch: [1, 2]", "train.epoch = 1: there is no such parameter"),
        ("train.dropout: [0.1, 1.5]\ntrain.epochs: [0, 1]", "train.dropout = 1.5: it should be at least 0 and below 1"),
        ("train.epochs: [0, 1]", "train.epochs = 0: it should be at least 1 and at most 100"),
        ("train.epochs: []", "train.epochs = []: the list has no value"),
        ("model.heads: [4, 7]", "model.heads is 7, which does not divide model.d_model"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_is_queued(clone: Clone, tmp_path: Path, text: str, told: str) -> None:
    grid = tmp_path / "bad.yaml"
    grid.write_text(text, encoding="utf-8")
    printed = clone.run("make", "sweep", f"GRID={grid}", code=2)
    assert told in printed
    assert str(grid) in printed
    assert "Error 1" in printed
    assert "Traceback" not in printed
    assert "queued" not in printed


@pytest.mark.parametrize("jobs", ["0", "two", "1000"])
def test_a_wrong_number_of_jobs_is_refused(clone: Clone, jobs: str) -> None:
    assert f"JOBS={jobs} is not a whole number from 1 to 64" in clone.run("make", "sweep", f"JOBS={jobs}", code=2)
