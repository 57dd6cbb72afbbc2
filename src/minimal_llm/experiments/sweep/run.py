"""`make sweep`: run every combination of a grid once, several at a time, and go on where an earlier sweep stopped.

python -m minimal_llm.sweep     # GRID=examples/sweep.yaml JOBS=2 EPOCHS=5 ... from the environment
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.common.system import available_memory_mb, physical_cores
from minimal_llm.experiments.sweep.control import Sweep
from minimal_llm.experiments.sweep.grid import Combination, read_grid
from minimal_llm.pipeline.memory_estimate import training_memory_mb
from minimal_llm.pipeline.overrides import VARIABLES, overrides_from
from minimal_llm.pipeline.preflight import Finding, print_findings, require, run_checks

GRID = Path("examples/sweep.yaml")
LOCK = Path(".dvc/tmp/minimal-llm-sweep.lock")
MOST_JOBS = 64


def main(environment: Mapping[str, str]) -> int:
    """Run the command line; return the exit code."""
    try:
        return run_sweep(environment)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run_sweep(environment: Mapping[str, str]) -> int:
    """Run the sweep that the environment names and return 0.

    Raises:
        MinimalLlmError: the grid or a prerequisite is wrong, and nothing was started; or an experiment failed.
        Interrupted: a signal stopped it; the next call goes on from there.
    """
    path = Path(environment.get("GRID") or GRID)
    jobs = _jobs(environment.get("JOBS", ""))
    combinations = read_grid(path, overrides_from(environment))
    jobs = min(jobs, len(combinations))
    threads = max(1, physical_cores() // jobs)
    if jobs > 1:  # recorded with each experiment: other threads, other bits
        combinations = [combination.with_threads(threads) for combination in combinations]
    _check_prerequisites(combinations, jobs)
    print(f"{len(combinations)} combinations of {path}; {jobs} at a time, {threads} thread(s) each", flush=True)
    with _only_sweep():
        Sweep(combinations, jobs, threads, again=_command(environment)).run()
    return 0


def _jobs(text: str) -> int:
    if not text:
        return 1
    if not (text.isdecimal() and 1 <= int(text) <= MOST_JOBS):
        raise ConfigurationError(
            f"JOBS={text} is not a whole number from 1 to {MOST_JOBS}", remedy="make sweep JOBS=2 (or without JOBS: 1)"
        )
    return int(text)


def _check_prerequisites(combinations: Sequence[Combination], jobs: int) -> None:
    """Raise ConfigurationError with all that is missing for the combination that needs most, and for all at once."""
    largest = max(combinations, key=lambda combination: training_memory_mb(combination.config)).config
    findings = run_checks(largest, Artifacts(tokenizer_name=largest.tokenizer.name))
    needs = sorted((training_memory_mb(combination.config) for combination in combinations), reverse=True)
    needed, free = sum(needs[:jobs]), available_memory_mb()
    if jobs > 1:
        remedy = None if free >= needed else f"close other programs, or: make sweep JOBS={jobs - 1}"
        findings.append(
            Finding("memory", f"{free:,.0f} MB free, {jobs} jobs at once need about {needed:,.0f} MB", remedy)
        )
    print_findings(findings)
    require(findings)


@contextmanager
def _only_sweep() -> Iterator[None]:
    lock = filelock.FileLock(LOCK, blocking=False)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise ConfigurationError(
            "another make sweep is at work in this repository",
            remedy="wait for it, or stop it with Ctrl+C in its terminal",
        ) from None


def _command(environment: Mapping[str, str]) -> str:
    """Return the command that this sweep was started with."""
    given = [name for name in ("GRID", "JOBS", "CORPUS", *VARIABLES) if environment.get(name)]
    return " ".join(["make sweep", *(f"{name}={shlex.quote(environment[name])}" for name in given)])
