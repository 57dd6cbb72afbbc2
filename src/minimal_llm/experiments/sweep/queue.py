"""The queue of DVC by its commands: what is in it, its workers, and how they are stopped.

DVC runs queued experiments in copies of the repository below .dvc/tmp/exps, by workers (of Celery) that are processes
in the background. A worker can break off its search for work when it meets a message half written by another process;
it ends the experiment at hand, and then itself. Whoever waits for the queue must look after the number of workers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, parse_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.pipeline.overrides import VARIABLES, settings

READ_ATTEMPTS, READ_PAUSE_SECONDS, READ_SECONDS = 8, 2.0, 30.0
_OF_MAKE = frozenset({*VARIABLES, "CORPUS", "RESUME", "NAME", "GRID", "JOBS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"})


@dataclass(frozen=True)
class Experiment:
    """An experiment that started from the last commit."""

    name: str
    state: str  # queued, running, failed or success
    config: Config | None  # None where the parameters of then cannot be used now
    val_loss: float | None  # of the validate stage, where it is done
    log: Path | None  # what its stages printed, if it came from the queue

    def reason(self) -> str:
        """Return what the stage that failed said, or that none did."""
        try:
            printed = self.log.read_text(encoding="utf-8", errors="replace") if self.log else ""
        except OSError:
            printed = ""
        told = re.findall(r"^(?:error|ERROR): (.*)", printed, re.MULTILINE)
        return told[0] if told else "it failed before any stage ran"


def experiments() -> list[Experiment]:
    """Return all experiments that started from the last commit, also those in the queue.

    Raises:
        ConfigurationError: DVC cannot say.
    """
    shown = json.loads(_patiently("exp", "show", "--json"))
    entries = [entry for commit in shown[1:2] for entry in commit["experiments"] or []]
    return [_experiment(entry) for entry in entries if not _runs_in_workspace(entry["executor"] or {})]


def _runs_in_workspace(executor: Mapping[str, Any]) -> bool:
    return executor.get("state") == "running" and executor.get("name") != "dvc-task"


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    executor = entry["executor"] or {}
    state = executor.get("state") or "success"
    data = entry["revs"][0]["data"] or {}
    metrics = data.get("metrics", {}).get(str(Artifacts().summary), {}).get("data") or {}
    log = (executor.get("local") or {}).get("log")
    return Experiment(
        name=entry["name"] or entry["revs"][0]["rev"][:7],
        state=state,
        config=_config(data.get("params", {}).get("params.yaml", {}).get("data")),
        val_loss=metrics.get("val_loss") if state == "success" else None,
        log=Path(log) if log else None,
    )


def _config(params: Any) -> Config | None:
    try:
        return parse_config(params, {})
    except ConfigurationError:
        return None


def add(name: str, config: Config, keys: Iterable[str]) -> None:
    """Queue an experiment: the workspace as it stands, with the values that `config` has for these parameters.

    Never while workers are at work: one of them could take the message half written, and lose it.
    """
    dvc("exp", "run", "--queue", "-n", name, *settings(config, keys))


def remove(names: Iterable[str]) -> None:
    """Take experiments that are queued, failed or done out of the queue's list; results stay.

    One that a worker has taken meanwhile stays as well: whoever needs to know looks at `experiments` again.
    """
    listed = list(names)
    if listed:
        _run("queue", "remove", *listed)


def start_workers(count: int, threads: int) -> None:
    """Start workers until there are `count`; what they run without a number of threads of its own uses `threads`."""
    kept = {key: value for key, value in os.environ.items() if key not in _OF_MAKE}
    # A stage imports the code in its own copy of the repository, which is the code that DVC records.
    path = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH", "")]))
    dvc(
        "queue", "start", "--jobs", str(count), environment=kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    )


def stop_workers() -> None:
    """Let workers end after the experiments that they are at."""
    dvc("queue", "stop")


def interrupt(names: Iterable[str]) -> set[str]:
    """Send SIGINT to running experiments; return those that it reached. To be sent once: a second one ends a worker."""
    done = _run("queue", "kill", *names)
    return {name for name in names if f"{name} has been killed" in done.stdout}


def workers() -> list[psutil.Process]:
    """Return the workers of this repository's queue, the oldest first."""
    here, found = str(Path.cwd()), []
    for process in psutil.process_iter():
        try:
            if "queue-worker" in process.cmdline() and process.cwd() == here:
                found.append((process.create_time(), process))
        except psutil.Error:  # it ended meanwhile, or belongs to somebody else
            continue
    return [process for _, process in sorted(found, key=lambda pair: pair[0])]


def _patiently(*words: str) -> str:
    # It fails, or waits for ever, where an experiment is being set up or cleared away at that moment.
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return dvc(*words, limit=READ_SECONDS)
        except ConfigurationError:
            time.sleep(READ_PAUSE_SECONDS)
    return dvc(*words, limit=READ_SECONDS)


def dvc(*words: str, environment: Mapping[str, str] | None = None, limit: float | None = None) -> str:
    """Run a command of DVC and return what it prints.

    Raises:
        ConfigurationError: it fails, or takes longer than `limit` seconds.
    """
    done = _run(*words, environment=environment, limit=limit)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise ConfigurationError(
            f"dvc {' '.join(words[:3])} failed: {said[-1]}",
            remedy="make check; dvc queue status; then make sweep again",
        )
    return done.stdout


def _run(
    *words: str, environment: Mapping[str, str] | None = None, limit: float | None = None
) -> subprocess.CompletedProcess[str]:
    # Files, not pipes: workers keep what they inherit open, and nobody would see the end of a pipe before their end.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            ["dvc", *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,  # Ctrl+C on the terminal is for the sweep, which then stops all in order
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["dvc", *words], code, out.read(), err.read())
