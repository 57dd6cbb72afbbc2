"""Two runs in one clone at the same time, and what outlives a run that was killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pexpect
import psutil
import pytest
import yaml

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import Started, before, results, start
from tests.support.training_runs import outcome

pytestmark = needs_venv

AREA = "Processes"


@pytest.fixture
def running(experimental: Clone) -> Iterator[tuple[Clone, Started]]:
    """A clone in which `make train` of 12 epochs has begun to train."""
    first = start(experimental, "make", "train", EPOCHS="12")
    wait_for_epoch(first)
    yield experimental, first
    first.kill_all()


def wait_for_epoch(started: Started, number: int = 1) -> None:
    deadline = time.monotonic() + 120
    while not re.search(rf"epoch +{number}/", started.printed):
        assert time.monotonic() < deadline, started.printed
        assert started.process.poll() is None, started.printed
        time.sleep(0.05)


def pid_of_run(started: Started) -> int:
    found = started.find("minimal-llm")
    assert found
    return found.pid


def edit_epochs(clone: Clone, epochs: int) -> None:
    params = clone.params()
    params["train"]["epochs"] = epochs
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def assert_equals_a_quiet_run(clone: Clone, folder: Path) -> None:
    assert "up to date" in clone.run("dvc", "status")
    clone.run("python", "stages/train.py", "--output-dir", str(folder))
    assert outcome(clone.folder / "data") == outcome(folder)


def test_a_second_run_in_a_clone_is_refused_with_the_pid_of_the_first_which_ends_as_if_it_had_been_alone(
    running: tuple[Clone, Started], tmp_path: Path, count: Count
) -> None:
    clone, first = running
    pid = pid_of_run(first)
    refused = [
        clone.run("make", "train", code=2),
        clone.run("make", "train", "RESUME=no", "EPOCHS=12", code=2),
        clone.run("make", "example", "NAME=low-memory", code=2),
    ]
    clean = pexpect.spawn("make", ["clean"], cwd=str(clone.folder), env=clone.environment, encoding="utf-8", timeout=60)
    clean.expect(pexpect.EOF)
    refused.append(str(clean.before))
    for printed in refused:
        assert f"another process (pid {pid}) is running the pipeline" in printed
        assert f"wait for it to end, or stop it: kill {pid}" in printed
        assert "Traceback" not in printed
    assert clone.json("pipeline_status.json")["state"] == "running"
    stage = clone.json("pipeline_status.json")["phases"]["train"]["pid"]
    by_hand = clone.run("python", "stages/validate.py", code=5)
    assert f"another process (pid {stage}) is running stage train in data" in by_hand
    assert "is busy, it is being blocked by" in clone.run("dvc", "repro", code=255)
    assert first.wait() == 0, first.printed
    assert first.printed.count("Resuming") == 0
    assert_equals_a_quiet_run(clone, tmp_path / "quiet")
    told = "the second is refused with the pid of the first, whose results are those of a run alone"
    count(AREA, "make train, make example, make clean, dvc repro or a stage script beside make train", told, 6)
