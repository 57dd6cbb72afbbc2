"""Any part of `make train` is killed at any moment, and the next one ends with the results of an undisturbed run."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import (
    ALL_STAGES,
    Started,
    assert_equal_results,
    before,
    duration,
    kill,
    pid_told,
    start,
)

pytestmark = needs_venv

AREA = "Processes"
VICTIMS = {
    "stage": "the process of a stage",
    "dvc": "DVC alone",
    "make": "make alone",
    "minimal-llm": "the program that make starts",
    "everything": "all processes of make train",
}
MISSED = 8  # moments in a row at which the part had ended


def disturb(clone: Clone, finished: Clone, stage: str, victim: str, random: Random) -> tuple[Started, bool]:
    """Start `make train`, kill a part of it at a random moment of a stage; return it, and if that was in time."""
    started = start(clone, "make", "train")
    if started.wait_for(f"{stage}.py") is None:
        return started, False
    time.sleep(random.uniform(0, duration(stage, finished)))
    hit = kill(started, victim, stage)
    started.process.wait()
    return started, hit


def run_to_the_end(clone: Clone, random: Random) -> Counter[str]:
    """Do what a user does: `make train`, and while it is refused because a part lives on, what it says."""
    told: Counter[str] = Counter()
    for _ in range(10):
        last = start(clone, "make", "train")
        code = last.wait()
        assert "Traceback" not in last.printed, last.printed
        if code == 0:
            return told
        pid = pid_told(last.printed)
        assert pid is not None, last.printed
        told["refused with the pid of what lives on"] += 1
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if random.random() < 0.5:
                process.terminate()
            process.wait(120)
    raise AssertionError("refused again and again")


def rounds(finished: Clone, folder: Path, stage: str, victim: str, number: int, random: Random) -> int:
    """Kill so many runs, finish each, and compare it with the undisturbed one; return the number of kills."""
    kills = missed = 0
    for index in range(number):
        clone = before(stage, finished, folder / f"{stage}-{victim}-{index}")
        disturbed, wanted = [], random.choice((1, 1, 1, 3))
        while len(disturbed) < wanted and missed < MISSED:
            run, hit = disturb(clone, finished, stage, victim, random)
            disturbed.append(run)
            missed = 0 if hit else missed + 1
            kills += hit
            if not hit and run.process.returncode == 0:  # it was quicker: from the start again
                shutil.rmtree(clone.folder)
                clone, disturbed = before(stage, finished, clone.folder), []
        run_to_the_end(clone, random)
        for run in disturbed:
            run.wait()
        assert_equal_results(clone, finished)
        shutil.rmtree(clone.folder)
    assert kills >= number, f"only {kills} kills of {victim} in stage {stage} came in time"
    return kills


TOLD = "the next make train ends with the files and the dvc.lock of an undisturbed run"


@pytest.mark.long
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", ALL_STAGES)
def test_any_part_of_make_train_killed_in_any_stage_ends_like_a_run_that_was_not(
    first_clone: Clone, tmp_path: Path, random: Random, count: Count, stage: str, victim: str
) -> None:
    kills = rounds(first_clone, tmp_path, stage, victim, 3, random)
    count(AREA, f"kill -9 of {VICTIMS[victim]}, in stage {stage}", TOLD, kills)
