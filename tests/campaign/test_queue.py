"""Experiments of DVC: twenty queued in a row, and one that is interrupted, with its documented recovery."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from minimal_llm.pipeline.verify import md5_of
from tests.campaign.test_two_at_once import assert_equals_a_quiet_run, wait_for_epoch
from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import start
from tests.support.training_runs import EQUAL_FOR_EQUAL_RUNS

pytestmark = needs_venv

QUEUED = 20
RECOVERY = "git checkout HEAD -- params.yaml dvc.lock data && dvc checkout"  # docs/EXPERIMENTS.md


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working folder is this one or below it."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if str(process.info["cwd"] or "").startswith(str(folder)):
            found.append(process)
    return found


def worker_of(clone: Clone) -> psutil.Process | None:
    """Return the worker of the queue."""
    for process in processes_in(clone.folder):
        try:
            if "queue-worker" in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_queued_experiments_give_what_single_runs_give_and_leave_nothing_behind(
    experimental: Clone, tmp_path: Path, count: Count
) -> None:
    rates = {f"queued-{number:02}": round(0.001 + 0.0001 * number, 4) for number in range(QUEUED)}
    for name, rate in rates.items():
        change = ("-S", f"train.learning_rate={rate}", "-S", "train.epochs=1")
        experimental.run("dvc", "exp", "run", "--queue", "-n", name, *change)
    assert experimental.run("dvc", "queue", "status").count("Queued") >= QUEUED
    # Not into a pipe: the worker, which inherits it, would keep it open.
    start = ("dvc", "queue", "start")
    subprocess.run(start, cwd=experimental.folder, env=experimental.environment, stdout=subprocess.DEVNULL, check=True)
    memory: dict[int, tuple[float, int]] = {}  # by experiments done: MB and open files of the worker
    deadline = time.monotonic() + 3000
    while (done := len(experimental.experiments())) < QUEUED:
        assert time.monotonic() < deadline, experimental.run("dvc", "queue", "status")
        if worker := worker_of(experimental):
            with suppress(psutil.Error):
                _, fewest = memory.get(done, (0.0, worker.num_fds()))  # it opens more while it starts an experiment
                memory[done] = (worker.memory_info().rss / 1e6, min(fewest, worker.num_fds()))
        time.sleep(0.2)
    while worker_of(experimental):  # it looks for more for a while
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for name, rate in rates.items():
        assert_equals_a_single_run(experimental, name, rate, tmp_path / name)
    assert processes_in(experimental.folder) == []
    folders = experimental.folder / ".dvc" / "tmp" / "exps"
    assert [path for path in folders.glob("tmp*") if path.is_dir()] == []
    assert experimental.git("for-each-ref", "refs/exps/celery") == ""
    assert experimental.git("status", "--porcelain") == ""
    assert "Nothing to do" in experimental.run("make", "train")
    (early, early_files), (late, late_files) = memory[min(2, QUEUED - 1)], memory[max(memory)]
    assert late < 1.02 * early, memory
    assert late_files <= early_files, memory
    told = "each equals a single run; no process, folder or reference is left; memory of the worker flat within 2 %"
    count("Time and memory", "experiments queued in a row", told, QUEUED)


def assert_equals_a_single_run(clone: Clone, name: str, rate: float, folder: Path) -> None:
    reference = next(ref for ref in clone.experiments() if ref.endswith(f"/{name}"))
    lock = yaml.safe_load(clone.git("show", f"{reference}:dvc.lock"))["stages"]
    assert {"train", "validate"} <= lock.keys()
    recorded = {entry["path"]: entry["md5"] for entry in lock["train"]["outs"]}
    assert lock["train"]["params"]["params.yaml"]["train.learning_rate"] == rate
    flags = ("--learning-rate", str(rate), "--epochs", "1", "--output-dir", str(folder))
    clone.run("python", "stages/train.py", *flags)
    for path in EQUAL_FOR_EQUAL_RUNS:
        assert md5_of(folder / path) == recorded[f"data/{path}"], (name, path)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_experiment_is_told_by_make_status_undone_as_documented_and_resumed_by_its_own_command(
    experimental: Clone, tmp_path: Path, count: Count, number: signal.Signals
) -> None:
    experiment = ("dvc", "exp", "run", "-n", "interrupted", "-S", "train.epochs=12")
    started = start(experimental, *experiment)
    wait_for_epoch(started)
    dvc = started.find("dvc")
    assert dvc
    for process in started.family() if number == signal.SIGINT else [dvc]:  # Ctrl+C reaches all
        process.send_signal(number)
    started.process.wait()
    for process in started.family():  # the stage that outlives DVC
        process.terminate()
    started.wait()
    shown = experimental.run("make", "status")
    assert "params.yaml differs from the last commit" in shown
    assert RECOVERY in shown
    assert RECOVERY in (experimental.folder / "docs" / "EXPERIMENTS.md").read_text(encoding="utf-8")
    experimental.run("bash", "-c", RECOVERY)
    assert experimental.git("status", "--porcelain") == ""
    assert "up to date" in experimental.run("dvc", "status")
    assert "differs from the last commit" not in experimental.run("make", "status")
    printed = experimental.run(*experiment)
    assert "Resuming from epoch" in printed
    assert_equals_a_quiet_run(experimental, tmp_path / "quiet")
    told = "make status tells it, with the command that undoes it; the same experiment again resumes"
    count("Processes", f"{number.name} during dvc exp run", told)
