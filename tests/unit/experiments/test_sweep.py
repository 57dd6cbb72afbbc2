"""How a sweep stops experiments, and how it lists them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.experiments import sweep
from minimal_llm.experiments.live_runs import STYLES
from minimal_llm.experiments.sweep import DISPLAY_ORDER, GRID, MARK, run_sweep, stop_processes, trained_parameters
from tests.support.stages import ROOT

IGNORES_SIGINT = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
# A process inherits an ignored SIGINT, for example from a shell that started the tests in the background.
OBEYS_SIGINT = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); time.sleep(60)"


@contextmanager
def experiment(clone: Path, program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of an experiment in this clone, running."""
    command, environment = [sys.executable, "-c", program], os.environ | {MARK: str(clone.absolute())}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_experiments_are_interrupted_and_those_of_other_folders_are_not(tmp_path: Path) -> None:
    with experiment(tmp_path / "a", OBEYS_SIGINT) as one, experiment(tmp_path / "ab", OBEYS_SIGINT) as other:
        stop_processes(tmp_path / "a")
        assert one.wait(10) == -signal.SIGINT
        assert other.poll() is None
        stop_processes(tmp_path)
        assert other.wait(10) == -signal.SIGINT


def test_an_experiment_that_does_not_exit_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "STOP_SECONDS", 0.5)
    with experiment(tmp_path / "a", IGNORES_SIGINT) as process:
        stop_processes(tmp_path)
        assert process.wait(10) == -signal.SIGKILL


def test_combinations_that_train_the_same_model_are_told_from_those_that_do_not() -> None:
    config = load_config(ROOT / "params.yaml")
    other_checks, other_model = (
        load_config(ROOT / "params.yaml", {key: value})
        for key, value in (("validate.max_gap", 0.25), ("split.validation_fraction", 0.2))
    )
    assert trained_parameters(other_checks) == trained_parameters(config) != trained_parameters(other_model)


@pytest.mark.parametrize("jobs", [0, 65])
def test_an_invalid_number_of_jobs_is_refused(jobs: int) -> None:
    with pytest.raises(ConfigurationError, match=f"JOBS={jobs} is not a whole number from 1 to 64"):
        run_sweep(GRID, jobs, {})


def test_every_state_has_a_style() -> None:
    assert STYLES.keys() >= set(DISPLAY_ORDER)
