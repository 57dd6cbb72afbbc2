"""`make sweep` in a trained clone: stopped, killed, resumed, and told what failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from minimal_llm.common.system import physical_cores
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv
GRID = {"train.epochs": 12, "train.threads": "auto", "train.learning_rate": [0.001, 0.003]}
LIMIT_SECONDS = 600


class Sweep:
    """`make sweep` at work on a grid, two jobs at a time, in a process group of its own as on a terminal."""

    def __init__(self, clone: Clone, grid: Mapping[str, Any]) -> None:
        self._clone = clone
        self._log = clone.folder / "runs" / "printed.log"
        self._log.parent.mkdir(exist_ok=True)
        (clone.folder / "runs" / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
        with self._log.open("w", encoding="utf-8") as output:
            self._make = subprocess.Popen(
                ("make", "sweep", "GRID=runs/grid.yaml", "JOBS=2"),
                cwd=clone.folder,
                env=clone.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, pattern: str) -> None:
        """Wait until it has printed what a pattern finds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while re.search(pattern, printed := self._log.read_text(encoding="utf-8"), re.DOTALL) is None:
            assert self._make.poll() is None, printed
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)

    def signal(self, number: int) -> None:
        """Send a signal to make and the sweep, as a terminal does: experiments have sessions of their own."""
        os.killpg(self._make.pid, number)

    def end(self, *codes: int) -> str:
        """Return what it printed, after checking that the exit code of make is 0 or one of those given."""
        ended = self._make.wait(timeout=LIMIT_SECONDS)
        printed = self._log.read_text(encoding="utf-8")
        assert ended in (codes or (0,)), printed
        assert "Traceback" not in printed
        return printed


@pytest.fixture(scope="module")
def clone(trained: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the trained clone with a change that is not committed."""
    clone = trained.copy_to(tmp_path_factory.mktemp("sweep") / "clone")
    with (clone.folder / "README.md").open("a", encoding="utf-8") as file:
        file.write("\nNot committed.\n")
    return clone


def experiment_processes(clone: Clone) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(clone.folder / "runs" / "sweep") in process.cwd():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_every_combination_runs_once_through_ctrl_c_and_a_killed_sweep(clone: Clone) -> None:
    stopped = Sweep(clone, GRID)
    stopped.wait_for("epoch [2-9]/12")
    refused = clone.run("make", "sweep", "GRID=runs/grid.yaml", code=2)
    assert "another make sweep is running in this repository" in refused
    stopped.signal(signal.SIGINT)
    stopped.signal(signal.SIGINT)
    printed = stopped.end(-signal.SIGINT, 2)  # make ends by the signal, or with its recipe's error
    assert "the sweep stopped with 0 of 2 experiments done" in printed
    assert "make sweep with the same variables continues" in printed
    assert experiment_processes(clone) == []
    assert clone.experiments() == []
    assert list(clone.folder.glob("data/checkpoints/*/step_*.pt"))

    killed = Sweep(clone, GRID)
    killed.wait_for("  training  epoch")
    killed.signal(signal.SIGKILL)
    assert experiment_processes(clone)  # they outlive the sweep

    finished = Sweep(clone, GRID).end()
    assert finished.count("validation loss") == 2
    assert experiment_processes(clone) == []
    references = clone.experiments()
    assert [name.rpartition("/")[2][:-7] for name in references] == ["learning_rate-0.001", "learning_rate-0.003"]
    logs = [clone.folder / "runs" / "sweep" / f"{name.rpartition('/')[2]}.log" for name in references]
    assert any("resuming" in log.read_text(encoding="utf-8").lower() for log in logs)
    for reference in references:
        params = yaml.safe_load(clone.git("show", f"{reference}:params.yaml"))
        assert params["train"]["threads"] == max(1, physical_cores() // 2)
        assert "Not committed." in clone.git("show", f"{reference}:README.md")

    assert "2 known, 0 to run" in Sweep(clone, GRID).end()
    assert clone.experiments() == references
    assert clone.git("status", "--porcelain") == " M README.md\n"


@pytest.mark.long
def test_each_combination_runs_with_several_seeds_and_the_comparison_averages_them(
    trained: Clone, tmp_path: Path
) -> None:
    clone = trained.copy_to(tmp_path / "clone")
    (clone.folder / "grid.yaml").write_text("train.dropout: [0, 0.8]\n", encoding="utf-8")
    assert "SEEDS=0 is not a whole number from 1 to 100" in clone.run(
        "make", "sweep", "GRID=grid.yaml", "SEEDS=0", code=2
    )
    printed = clone.run("make", "sweep", "GRID=grid.yaml", "SEEDS=2", "JOBS=2", "EPOCHS=1", limit=LIMIT_SECONDS)
    assert "4 combinations: 0 known, 4 to run" in printed
    compared = clone.run("make", "compare")
    rows = re.findall(r"^(0|0\.8) +2 +(\S+ ± \S+) .*(best|luck \(p = \S+\))$", compared, re.MULTILINE)
    assert [(dropout, told) for dropout, _, told in rows[:1]] == [("0", "best")]
    assert len(rows) == 2


def test_failed_and_killed_experiments_are_named_with_their_reasons(clone: Clone) -> None:
    before = clone.experiments()
    sweep = Sweep(clone, {"tokenizer.vocab_size": [1000, 30_000], "train.epochs": 100})
    sweep.wait_for("vocab_size-1000-[0-9a-f]{6}  training")
    for process in experiment_processes(clone):
        if "vocab_size-1000" in " ".join(process.cmdline()):
            process.kill()
    printed = sweep.end(2)
    assert "Error 4" in printed
    assert "2 of 2 experiments failed" in printed
    assert re.search(r"vocab_size-1000-\w+: killed by signal 9", printed)
    assert re.search(r"vocab_size-30000-\w+: .*30,?000", printed)
    assert re.search(r"runs/sweep/vocab_size-\d+-\w+\.log has the full output", printed)
    assert experiment_processes(clone) == []
    assert clone.experiments() == before


def test_an_invalid_grid_is_refused_before_anything_runs(clone: Clone) -> None:
    printed = Sweep(clone, {"train.dropout": [0.1, 1.5]}).end(2)
    assert "train.dropout = 1.5: it should be at least 0 and at most 0.99" in printed
    assert "runs/grid.yaml" in printed
    assert "Error 1" in printed
    assert "starting" not in printed
