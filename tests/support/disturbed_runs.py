"""Runs of the whole pipeline that tests disturb, and what must be equal to a run that nobody disturbed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from minimal_llm.common.artifacts import STAGES, Artifacts
from tests.support.clone import Clone

ALL_STAGES = ("parameters", *STAGES)
STARTS_OF_PYTHON = {"parameters": 0.9, "download": 0.5, "tokenizer": 0.7, "train": 0.5, "validate": 0.5}  # seconds
SECONDS_OF_A_COMMIT = 1.0  # in which DVC records what a stage has made
ARTIFACTS = Artifacts()
# What differs between equal runs: times, memory, and what is drawn and told of them
VOLATILE = frozenset(
    str(path)
    for path in (
        ARTIFACTS.train_speed,
        ARTIFACTS.inference_metrics,
        ARTIFACTS.cost,
        ARTIFACTS.latency,
        ARTIFACTS.picture("latency"),
        ARTIFACTS.picture("memory"),
        ARTIFACTS.report,
    )
)


def before(stage: str, finished: Clone, folder: Path) -> Clone:
    """Return a copy of a finished clone in which this stage and all later ones have never run."""
    clone = finished.copy_to(folder)
    rest = ALL_STAGES[ALL_STAGES.index(stage) :]
    lock = read_lock(clone)
    for entry in (entry for name in rest for entry in lock["stages"].pop(name)["outs"]):
        made = folder / entry["path"]
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    for path in (folder / ".dvc" / "cache", folder / ".dvc" / "tmp", folder / ARTIFACTS.checkpoints):
        shutil.rmtree(path, ignore_errors=True)
    (folder / ARTIFACTS.status).unlink()
    return clone


def read_lock(clone: Clone) -> Any:
    """Return the content of dvc.lock."""
    return yaml.safe_load((clone.folder / "dvc.lock").read_text(encoding="utf-8"))


def results(clone: Clone) -> dict[str, Any]:
    """Return what equal runs have equal: dvc.lock, and the SHA-256 of every file in data/, but for VOLATILE files."""
    lock = read_lock(clone)
    for entries in lock["stages"].values():
        for entry in (*entries.get("deps", ()), *entries["outs"]):
            if entry["path"] in VOLATILE:
                entry |= {"md5": "volatile", "size": "volatile"}
    found: dict[str, Any] = {"dvc.lock": lock}
    for path in sorted((clone.folder / "data").rglob("*")):
        name = path.relative_to(clone.folder)
        not_declared = ARTIFACTS.checkpoints in name.parents or name == ARTIFACTS.status
        if path.is_file() and not not_declared:
            found[str(name)] = "volatile" if str(name) in VOLATILE else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def assert_equal_results(clone: Clone, finished: Clone) -> None:
    """Assert that a clone has the results of an undisturbed run, all of them recorded, and nothing left over."""
    theirs, ours = results(finished), results(clone)
    assert ours.keys() == theirs.keys()
    assert {name for name in theirs if ours[name] != theirs[name]} == set()
    assert "up to date" in clone.run("dvc", "status")
    assert clone.phases()["validate"] in ("completed", "skipped")
    assert clone.json("pipeline_status.json")["state"] == "succeeded"
    # DVC leaves copies that a full disk cut off in its cache.
    left = [path for path in clone.folder.rglob("*.tmp") if not {".git", ".dvc"} & set(path.parts)]
    assert not left, left


@dataclass
class Started:
    """A command in a session of its own, and the file with what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return its processes that live, also those whose parent has died: they share its session."""
        found = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.Error):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def find(self, what: str) -> psutil.Process | None:
        """Return its process whose command has this word: a stage script, or dvc."""
        for process in self.family():
            with suppress(psutil.Error):
                if any(Path(word).name == what for word in process.cmdline()[:3]):
                    return process
        return None

    def wait_for(self, what: str, limit: float = 120) -> psutil.Process | None:
        """Return the process of this name once it is there; None if the command ended without."""
        deadline = time.monotonic() + limit
        while self.process.poll() is None:
            if found := self.find(what):
                return found
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.02)
        return None

    def wait(self, limit: float = 240) -> int:
        """Return its exit code once all its processes have ended."""
        code = self.process.wait(limit)
        deadline = time.monotonic() + limit
        while self.family():
            assert time.monotonic() < deadline, "a process lives on"
            time.sleep(0.05)
        return code

    def kill_all(self) -> None:
        """Kill what is left of it."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def start(clone: Clone, *command: str, logs: Path | None = None, **variables: str) -> Started:
    """Start a command in a clone, in a session of its own; what it prints goes to a file in `logs`."""
    log = (logs or clone.folder.parent) / f"{clone.folder.name}.{time.monotonic_ns()}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=clone.folder,
            env=clone.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(process, log)


def duration(stage: str, finished: Clone) -> float:
    """Return how many seconds the process of a stage took in a finished clone, and DVC to record what it made."""
    phases = finished.json("pipeline_status.json")["phases"]
    return STARTS_OF_PYTHON[stage] + phases.get(stage, {}).get("seconds", 0.0) + SECONDS_OF_A_COMMIT


def kill(started: Started, victim: str, stage: str) -> bool:
    """Kill -9 a part of a running `make train`, and return whether it was still there."""
    if started.process.poll() is not None:
        return False
    if victim == "everything":
        os.killpg(started.process.pid, signal.SIGKILL)
        return True
    found = started.find({"stage": f"{stage}.py"}.get(victim, victim))
    if found is not None:
        with suppress(psutil.NoSuchProcess):
            found.kill()
    return found is not None


def pid_told(printed: str) -> int | None:
    """Return the process id in a refusal that names who is in the way."""
    found = re.search(r"error: another [^\n]*\(pid (\d+)\)", printed)
    return int(found[1]) if found else None
