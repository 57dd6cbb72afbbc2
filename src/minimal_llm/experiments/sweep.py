"""`make sweep`: run every combination of a grid once, several at a time, and continue where an earlier sweep stopped.

Each experiment is a `dvc exp run` in a clone of the repository as it was when the sweep started. So you can go on
editing, and DVC's locks, one set per repository, block nobody. The clones share DVC's cache and the checkpoints.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

import filelock
import psutil
import yaml
from rich.console import Console
from rich.live import Live

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import PARAMS, Config, flatten, parse_config
from minimal_llm.common.errors import ConfigurationError, Interrupted, TrainingError
from minimal_llm.common.signals import catch_signals
from minimal_llm.common.system import physical_cores
from minimal_llm.common.unfinished_runs import SHAPES_NO_RESULT
from minimal_llm.experiments.grid import Combination, identity, read_grid
from minimal_llm.experiments.live_runs import LiveRun, Row, live_runs, table
from minimal_llm.pipeline.commands import git, output_of
from minimal_llm.pipeline.disk_estimate import sweep_disk_mb
from minimal_llm.pipeline.memory_estimate import training_memory_mb
from minimal_llm.pipeline.overrides import dvc_command
from minimal_llm.pipeline.preflight import LOCK, check_disk, check_memory, require, run_checks
from minimal_llm.pipeline.references import experiments_of, finished_experiments

GRID = Path("examples/sweep.yaml")
FOLDER = Path("runs/sweep")  # NAME/: the clone of an experiment in progress; NAME.log: its output
MARK = "MINIMAL_LLM_SWEEP"  # environment variable of every process of an experiment: the path of its clone
MAX_JOBS, MAX_SEEDS = 64, 100
POLL_SECONDS = 1.0
STOP_SECONDS = 120.0  # for experiments to save and exit
DISPLAY_ORDER = ("training", "validating", "starting", "failed", "done", "known", "queued")


def run_sweep(grid: Path, jobs: int, overrides: Mapping[str, Any], seeds: int = 1) -> int:
    """Run the combinations of a grid, `overrides` ({"train.epochs": 1}) applied to each, with so many seeds; return 0.

    Raises:
        MinimalLlmError: the grid or a prerequisite is wrong, and nothing was started; or an experiment failed.
        Interrupted: a signal stopped the sweep; the next one continues from there.
    """
    for name, value, largest, example in (("JOBS", jobs, MAX_JOBS, 2), ("SEEDS", seeds, MAX_SEEDS, 3)):
        if not 1 <= value <= largest:
            told = f"{name}={value} is not a whole number from 1 to {largest}"
            raise ConfigurationError(told, remedy=f"make sweep {name}={example}")
    combinations = read_grid(grid, overrides, seeds)
    jobs = min(jobs, len(combinations))
    _check_prerequisites(combinations, jobs)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(FOLDER / "lock", blocking=False):
            Sweep(combinations, jobs).run()
    except filelock.Timeout:
        remedy = "wait for it to finish, or stop it with Ctrl+C in its terminal"
        raise ConfigurationError("another make sweep is running in this repository", remedy=remedy) from None
    return 0


def _check_prerequisites(combinations: Sequence[Combination], jobs: int) -> None:
    """Raise ConfigurationError with everything that the largest combination, or all jobs together, would lack."""
    configs = [each.config for each in combinations]
    largest = sorted(configs, key=training_memory_mb, reverse=True)[:jobs]
    artifacts = Artifacts(tokenizer_name=largest[0].tokenizer.name)
    findings = run_checks(largest[0], artifacts)
    if jobs > 1:
        findings.append(check_memory(largest, f"make sweep JOBS={jobs - 1}"))
    findings.append(check_disk(sweep_disk_mb(largest, configs), artifacts, "the sweep"))
    require(findings)


class Sweep:
    """The combinations of a grid, from first to last. `run()` does it all."""

    def __init__(self, combinations: Sequence[Combination], jobs: int) -> None:
        self._combinations = {combination.name: combination for combination in combinations}
        self._max_jobs, self._threads = jobs, max(1, physical_cores() // jobs)
        self._queued = list(self._combinations)
        self._jobs: dict[str, Popen[bytes]] = {}
        self._runs: dict[str, LiveRun] = {}  # of what has begun to train
        self._ended: dict[str, Row] = {}
        self._errors: dict[str, str] = {}
        # Every experiment starts from this commit with these changes, whatever happens in the repository meanwhile.
        self._commit = output_of("git", "rev-parse", "HEAD").strip()
        git("update-index", "-q", "--refresh")  # `git stash create` fails where only the times of files have changed
        self._changes = output_of("git", "-c", "user.name=sweep", "-c", "user.email=sweep", "stash", "create").strip()
        self._objects = output_of("git", "rev-parse", "--path-format=absolute", "--git-path", "objects").strip()
        self._dvc_cache = output_of("dvc", "cache", "dir").strip()

    def run(self) -> None:
        """Run what is not known yet and print the results. Raises Interrupted or TrainingError as `run_sweep`."""
        with catch_signals() as stop, _display() as show:
            stop_processes(FOLDER)  # of a sweep that was killed
            self._find_known()
            try:
                while (self._queued or self._jobs) and not stop.requested:
                    self._start_next()
                    show(self._rows())
                    time.sleep(POLL_SECONDS)
                    self._take_ended()
                show(self._rows())
            finally:
                stop_processes(FOLDER)
                self._take_ended()
        self._conclude(stop.requested)

    def _find_known(self) -> None:
        known: dict[str, Row] = {}
        for name, commit in finished_experiments().items():
            with suppress(ConfigurationError, yaml.YAMLError, LookupError, TypeError):  # of another version
                config = parse_config(yaml.safe_load(git("show", f"{commit}:{PARAMS}")), {})
                inputs, row = _recorded_inputs(commit), Row(name, "known", None, _validation_loss(commit))
                known |= {identity(config, inputs, by_threads): row for by_threads in (True, False)}
        self._ended = {name: known[c.identity] for name, c in self._combinations.items() if c.identity in known}
        self._queued = [name for name in self._combinations if name not in self._ended]
        told = f"{len(self._combinations)} combinations: {len(self._ended)} known, {len(self._queued)} to run"
        print(f"{told}; {self._max_jobs} at a time, threads each: {self._threads}", flush=True)

    def _start_next(self) -> None:
        """Start an experiment if a job is free and those before it are training: corpus and tokenizer are made once.

        One that trains exactly what a running one does comes after it, and takes its result from DVC's cache.
        """
        if len(self._jobs) == self._max_jobs or not self._jobs.keys() <= self._runs.keys():
            return
        training = [trained_parameters(self._combinations[name].config) for name in self._jobs]
        for name in self._queued:
            if trained_parameters(self._combinations[name].config) not in training:
                self._queued.remove(name)
                self._start(self._combinations[name])
                return

    def _start(self, combination: Combination) -> None:
        name, clone = combination.name, (FOLDER / combination.name).absolute()
        self._clone(clone)
        command = dvc_command(combination.config, combination.keys, name)
        if self._max_jobs > 1 and combination.config.train.threads == "auto":  # recorded, as results depend on it
            command += ["-S", f"train.threads={self._threads}"]
        path = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH", "")]))  # the code of the clone
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(self._threads), MARK: str(clone)}
        # In a session of its own, so that Ctrl+C on the terminal reaches only the sweep, which then stops everything.
        with Path(f"{clone}.log").open("wb") as log:
            self._jobs[name] = Popen(
                command, cwd=clone, env=environment, stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True
            )

    def _clone(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of a sweep that was killed
        output_of("git", "clone", "--quiet", "--shared", "--no-checkout", ".", str(folder))  # not shared if shallow
        (folder / ".git" / "objects" / "info" / "alternates").write_text(f"{self._objects}\n", encoding="utf-8")
        output_of("git", "-C", str(folder), "checkout", "--quiet", "--detach", self._commit)
        if self._changes:
            output_of("git", "-C", str(folder), "stash", "apply", "--quiet", self._changes)
        (folder / ".dvc" / "config.local").write_text(f"[cache]\ndir = {self._dvc_cache}\n", encoding="utf-8")
        for shared in (Artifacts().checkpoints, Artifacts().raw_books):
            shared.mkdir(parents=True, exist_ok=True)
            (folder / shared).symlink_to(shared.absolute())

    def _take_ended(self) -> None:
        for name in [name for name, process in self._jobs.items() if process.poll() is not None]:
            code, clone = self._jobs.pop(name).returncode, FOLDER / name
            if code == 0:
                reference = f"{experiments_of(self._commit)}/{name}"
                output_of("git", "fetch", "--quiet", "--no-write-fetch-head", str(clone), f"+{reference}:{reference}")
                self._ended[name] = Row(name, "done", self._runs.get(name), _validation_loss(reference))
            else:
                stop_processes(clone)  # if DVC was killed, its stage is still running
                self._ended[name] = Row(name, "failed", self._runs.get(name))
                self._errors[name] = _error(name) if code > 0 else f"killed by signal {-code}"
            shutil.rmtree(clone)

    def _rows(self) -> list[Row]:
        for run in live_runs([Artifacts().checkpoints]):
            name = run.start.get("experiment", "")
            if name in self._jobs and (name in self._runs or run.state in ("running", "finished")):
                self._runs[name] = run  # not the log of an earlier sweep
        rows = self._ended | {name: Row(name, "queued") for name in self._queued}
        for name in self._jobs:
            trained = self._runs.get(name)
            state = "starting" if trained is None else "training" if trained.state == "running" else "validating"
            rows[name] = Row(name, state, trained)
        return sorted(rows.values(), key=lambda row: DISPLAY_ORDER.index(row.state))

    def _conclude(self, stopped: bool) -> None:
        done = [row for row in self._ended.values() if row.state != "failed"]
        done.sort(key=lambda row: float("inf") if row.val_loss is None else row.val_loss)
        if stopped and len(done) < len(self._combinations):
            raise Interrupted(
                f"the sweep stopped with {len(done)} of {len(self._combinations)} experiments done; progress is saved",
                remedy="make sweep with the same variables continues",
            )
        width = max((len(row.name) for row in done), default=0)
        print("", *(f"  {row.name:{width}}  validation loss {row.cells()[1] or 'unknown'}" for row in done), sep="\n")
        if done:
            print(f"Compare all: make compare\nApply the best: dvc exp apply {done[0].name}", flush=True)
        if self._errors:
            listed = "".join(f"\n  - {name}: {error}" for name, error in self._errors.items())
            raise TrainingError(
                f"{len(self._errors)} of {len(self._combinations)} experiments failed:{listed}",
                remedy=f"{FOLDER}/{next(iter(self._errors))}.log has the full output of the first one; "
                "make sweep with the same variables runs the failed ones again",
            )


def trained_parameters(config: Config) -> dict[str, Any]:
    """Return the parameters by which the trained models of a sweep differ: all but those of validation."""
    return {
        key: value
        for key, value in flatten(config).items()
        if not key.startswith("validate.") and key not in SHAPES_NO_RESULT
    }


def stop_processes(folder: Path) -> None:
    """Interrupt the experiments whose clones are in a folder, so that they save and exit; kill what does not exit."""
    interrupted: set[int] = set()
    inside, deadline = f"{folder.absolute()}/", time.monotonic() + STOP_SECONDS

    def mark(process: psutil.Process) -> str:
        return f"{(process.info['environ'] or {}).get(MARK)}/"

    while processes := [each for each in psutil.process_iter(["environ"]) if mark(each).startswith(inside)]:
        if not interrupted:
            print("Stopping running experiments; they save their progress ...", flush=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid not in interrupted:
                    process.send_signal(signal.SIGINT)
                    interrupted.add(process.pid)
        time.sleep(POLL_SECONDS / 4)


def _error(name: str) -> str:
    """Return the first error that an experiment printed: its stage's, before DVC's."""
    found = re.search(r"(?im)^error: (.*)", (FOLDER / f"{name}.log").read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else "no error message"


def _recorded_inputs(commit: str) -> dict[str, str]:
    """Return what dvc.lock says of the records of the user's own files, as `recorded_hashes` does of present files."""
    outs = yaml.safe_load(git("show", f"{commit}:{LOCK}"))["stages"]["parameters"]["outs"]
    records = [path.as_posix() for path in (Artifacts().files_record, Artifacts().model_record)]
    return {out["path"]: out["md5"] for out in outs if out["path"] in records}


def _validation_loss(revision: str) -> float | None:
    """Return the result of the validate stage of an experiment."""
    summary = git("show", f"{revision}:{Artifacts().summary}")
    return float(json.loads(summary)["val_loss"]) if summary else None


@contextmanager
def _display() -> Iterator[Callable[[list[Row]], None]]:
    """Yield a function that shows a list of runs: redrawn on a terminal, elsewhere a line when one changes."""
    console, printed = Console(), set[tuple[str, ...]]()

    def print_changes(rows: list[Row]) -> None:
        for row in rows:
            if (change := (row.name, row.state, row.cells()[0])) not in printed:
                printed.add(change)
                print(f"{time.strftime('%H:%M:%S')}  {row}", flush=True)

    if not console.is_terminal:
        yield print_changes
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda rows: live.update(table(rows, console.size.height), refresh=True)
