"""Two runs in one clone at the same time, and what outlives a run that was killed."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest
import yaml

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import Started, kill, pid_told, read_lock, start
from tests.support.training_runs import outcome, trained_epochs

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


@pytest.mark.long
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
        assert pid_told(printed) == pid
        assert f"or stop it: kill {pid}" in printed
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


def edit(clone: Clone, name: str, old: str, new: str) -> None:
    path = clone.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("params.yaml", "learning_rate: 0.004", "learning_rate: 0.001", "params.yaml: train.learning_rate"),
        ("src/minimal_llm/training/schedule.py", "What changes", "What varies", "src/minimal_llm/training/schedule.py"),
    ],
    ids=["a parameter", "code"],
)
@pytest.mark.long
def test_inputs_that_change_under_a_running_stage_are_told_and_never_recorded_for_its_result(
    experimental: Clone, tmp_path: Path, count: Count, name: str, old: str, new: str, told: str
) -> None:
    edit_epochs(experimental, 12)
    started = start(experimental, "dvc", "repro")
    wait_for_epoch(started)
    edit(experimental, name, old, new)
    edit(experimental, "src/minimal_llm/common/errors.py", "Errors that", "All errors that")  # shapes no result
    assert started.wait() == 255
    assert f"changed while train was running: {told}. Its result is not recorded" in started.printed
    assert "make train" in started.printed
    recorded = read_lock(experimental)["stages"]["train"]["params"]["params.yaml"]
    assert (recorded["train.epochs"], recorded["train.learning_rate"]) == (2, 0.004), "recorded all the same"
    edit(experimental, name, new, old)
    experimental.run("make", "train")
    assert_equals_a_quiet_run(experimental, tmp_path / "quiet")
    count(AREA, "params.yaml or code edited while a stage runs", "told by name; nothing recorded under wrong values")


@pytest.mark.long
def test_an_experiment_beside_make_train_is_refused_and_its_parameters_are_not_recorded_for_the_first_run(
    running: tuple[Clone, Started], tmp_path: Path, count: Count
) -> None:
    clone, first = running
    assert "is busy, it is being blocked by" in clone.run("dvc", "exp", "run", "-S", "train.epochs=3", code=255)
    assert clone.params()["train"]["epochs"] == 3, "DVC does not edit params.yaml any more: this test can go"
    assert first.wait() != 0
    assert "changed while train was running: params.yaml: train.epochs" in first.printed
    edit_epochs(clone, 12)
    clone.run("make", "train")
    assert_equals_a_quiet_run(clone, tmp_path / "quiet")
    told = "refused by DVC, which leaves its values in params.yaml; the first run tells so and records nothing wrong"
    count(AREA, "dvc exp run beside make train", told)


@pytest.mark.long
@pytest.mark.parametrize("ends_by", ["itself", "kill"])
def test_a_trainer_whose_dvc_was_killed_is_named_by_the_next_make_train_and_nothing_is_trained_twice(
    running: tuple[Clone, Started], tmp_path: Path, count: Count, ends_by: str
) -> None:
    clone, first = running
    trainer = clone.json("pipeline_status.json")["phases"]["train"]["pid"]
    kill(first, "dvc", "train")
    first.process.wait()
    assert f"stage train (pid {trainer}) is still" in first.printed
    assert f"kill {trainer}" in first.printed
    printed = clone.run("make", "train", code=2)
    assert pid_told(printed) == trainer
    assert "Running stage" not in printed
    assert f"another process (pid {trainer})" in clone.run("dvc", "repro", code=255)
    if ends_by == "kill":
        psutil.Process(trainer).terminate()
    first.wait()
    trained = trained_epochs(clone.folder / "data")
    printed = clone.run("make", "train")
    assert_equals_a_quiet_run(clone, tmp_path / "quiet")
    if ends_by == "kill":
        assert "Resuming from epoch" in printed
    else:
        assert trained_epochs(clone.folder / "data") == trained
    told = "the next make train names the stage that lives on, with its pid, and what to do"
    count(AREA, "dvc killed alone: its stage lives on", told)


@pytest.mark.parametrize(
    "left", ["damaged", "by a process whose id another program has now", "by a dead process", "by a zombie"]
)
def test_the_lock_that_a_killed_dvc_left_behind_is_cleared(trained: Clone, count: Count, left: str) -> None:
    rwlock = trained.folder / ".dvc" / "tmp" / "rwlock"
    sleeper = subprocess.Popen(["sleep", "600"])
    owner = {"pid": sleeper.pid, "cmd": "dvc repro"}
    content = json.dumps({"write": {str(trained.folder / "data" / "best_model.pt"): owner}, "read": {}})
    if left in ("by a dead process", "by a zombie"):
        sleeper.kill()
    if left == "by a dead process":
        sleeper.wait()
    rwlock.write_text(content[:-20] if left == "damaged" else content, encoding="utf-8")
    printed = trained.run("make", "train")
    assert "Nothing to do" in printed
    assert ("Deleted .dvc/tmp/rwlock" in printed) == (left != "by a dead process")
    sleeper.kill()
    sleeper.wait()
    count(AREA, f"a lock of DVC left {left}", "cleared by the next make train")
