"""DVC is killed before it has recorded a training; a terminal is closed; a second run starts beside the first."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import yaml

from minimal_llm.common.live_log import read_events
from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import start
from tests.support.training_runs import checkpoints, outcome, wait_until

pytestmark = needs_venv


def events(clone: Clone, kind: str) -> int:
    """How often something has been logged in all runs of a clone."""
    logs = (clone.folder / "data" / "checkpoints").glob("*/log.jsonl")
    return sum(event["event"] == kind for log in logs for event in read_events(log))


def untrained(first_clone: Clone, folder: Path, **train: Any) -> Clone:
    """A copy of the trained clone in which nobody knows of a training; parameters of it may be changed."""
    clone = first_clone.copy_to(folder)
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    for stage in ("train", "validate"):
        del lock["stages"][stage]
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    shutil.rmtree(folder / ".dvc" / "cache" / "runs")
    shutil.rmtree(folder / "data" / "checkpoints")
    if train:
        params = clone.params()
        params["train"] |= train
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return clone


def trainer(clone: Clone) -> int:
    """The PID of the stage that trains in a clone, after it has begun to."""
    return int(next((clone.folder / "data" / "checkpoints").glob("*/pid")).read_text(encoding="ascii"))


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended that is no child of this one."""
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_a_finished_training_survives_the_death_of_dvc_at_any_moment_before_it_is_recorded(
    first_clone: Clone, tmp_path: Path, random: Random, count: Count, rounds: int
) -> None:
    for number in range(rounds):
        clone = untrained(first_clone, tmp_path / str(number))
        process = start(clone, "dvc", "repro", "train").process
        wait_until(lambda: events(clone, "end"), process)  # noqa: B023
        time.sleep(random.uniform(0.0, 2.0))
        if number % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for_end(trainer(clone))
        printed = clone.run("dvc", "repro", "train")
        assert events(clone, "epoch") == 2, printed
        assert outcome(clone.folder / "data") == outcome(first_clone.folder / "data")
        assert "up to date" in clone.run("dvc", "repro", "train")
        shutil.rmtree(clone.folder)
    count(
        "Processes",
        "DVC, or its whole process group, killed between the end of training and the record in dvc.lock",
        "the same command again: no step is trained again, the bytes of an undisturbed run",
        rounds,
    )


def on_a_terminal(clone: Clone, script: str) -> tuple[int, int]:
    """The PID of a shell that runs a script as the leader of a session, and the other end of its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(clone.folder)
        os.execvpe("bash", ["bash", "-c", f"{script}; true"], clone.environment)  # noqa: S606
    return pid, terminal


def close_while_training(clone: Clone, script: str) -> None:
    """Close the terminal of a script in the middle of training, which must have ended a while later."""
    pid, terminal = on_a_terminal(clone, script)
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 120
    while not checkpoints(clone.folder / "data"):
        assert time.monotonic() < deadline
        try:
            os.read(terminal, 65536)  # so that the terminal takes more
        except BlockingIOError:
            time.sleep(0.01)
    os.close(terminal)
    os.waitpid(pid, 0)
    wait_for_end(trainer(clone))
    time.sleep(0.5)  # whoever started it records how it ended


COMMANDS = {
    "stage": "python stages/train.py",
    "dvc": "dvc repro train",
    "make": "make train",
}


@pytest.mark.long
@pytest.mark.parametrize("by", COMMANDS)
def test_training_whose_terminal_is_closed_saves_and_the_next_run_resumes(
    first_clone: Clone, tmp_path: Path, count: Count, by: str
) -> None:
    clone = untrained(first_clone, tmp_path / "clone", epochs=90, checkpoint_every_seconds=0.3)
    close_while_training(clone, COMMANDS[by])
    status = clone.json("pipeline_status.json")
    assert (status["state"], status["error"]["exit_code"]) == ("interrupted", 130)
    assert "progress is saved" in status["error"]["message"]
    saved = int(checkpoints(clone.folder / "data")[-1].stem.removeprefix("step_"))
    process = start(clone, "python", "stages/train.py").process
    wait_until(lambda: events(clone, "start") == 2, process)
    wait_until(lambda: int(checkpoints(clone.folder / "data")[-1].stem.removeprefix("step_")) > saved, process)
    process.kill()
    process.wait()
    count("Processes", f"terminal closed during {COMMANDS[by]}", "training saves and ends, the next run resumes")


@pytest.mark.long
def test_under_nohup_training_outlives_its_terminal(first_clone: Clone, tmp_path: Path, count: Count) -> None:
    clone = untrained(first_clone, tmp_path / "clone", epochs=6, checkpoint_every_seconds=0.1)
    close_while_training(clone, "nohup make train")
    deadline = time.monotonic() + 120
    while clone.json("pipeline_status.json")["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert clone.json("pipeline_status.json")["state"] == "succeeded"
    assert events(clone, "epoch") == 6
    count("Processes", "terminal closed during nohup make train", "training goes on to its end")


@pytest.mark.long
def test_a_second_run_is_refused_and_leaves_the_record_and_the_checkpoints_of_the_first(
    first_clone: Clone, tmp_path: Path, count: Count
) -> None:
    clone = untrained(first_clone, tmp_path / "clone", epochs=60)
    first = start(clone, "make", "train").process
    wait_until(lambda: checkpoints(clone.folder / "data"), first)
    before = clone.json("pipeline_status.json")
    assert before["state"] == "running"
    pid = before["phases"]["train"]["pid"]
    refusals = {
        "make train": 2,
        "make train RESUME=no": 2,
        "dvc repro": 255,
        "python stages/train.py": 4,
        "make clean": 2,
    }
    for command, code in refusals.items():
        printed = clone.run(*command.split(), code=code)
        assert "Traceback" not in printed
        assert clone.json("pipeline_status.json") == before, command
        assert checkpoints(clone.folder / "data"), command
    os.kill(pid, signal.SIGINT)
    assert first.wait(timeout=60) != 0
    assert clone.json("pipeline_status.json")["state"] == "interrupted"
    count(
        "Processes",
        "a second make train, RESUME=no, dvc repro, train stage or make clean during a run",
        "refused with the PID to stop; record and checkpoints of the first untouched",
        len(refusals),
    )


def experiments(clone: Clone) -> dict[str, str]:
    """The commits of the experiments by name."""
    return {name.rpartition("/")[2]: clone.git("rev-parse", name).strip() for name in clone.experiments()}


@pytest.mark.long
def test_an_example_that_is_killed_keeps_the_experiment_of_its_earlier_run(
    first_clone: Clone, tmp_path: Path, count: Count
) -> None:
    clone = first_clone.copy_to(tmp_path / "clone")
    words = ("make", "example", "NAME=custom-corpus", "EPOCHS=1")
    clone.run(*words)
    references = experiments(clone)
    with (clone.folder / "src" / "minimal_llm" / "training" / "step.py").open("a", encoding="utf-8") as source:
        source.write("# another line\n")
    earlier = events(clone, "start")
    process = start(clone, *words).process
    wait_until(lambda: events(clone, "start") > earlier, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert experiments(clone) == references
    clone.run(*words)
    renewed = experiments(clone)
    assert renewed != references
    assert renewed.keys() == references.keys()
    count("Processes", "make example killed", "the experiment of its earlier run stays until the new one is there")
