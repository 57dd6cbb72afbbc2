"""pipeline_status.json: what the last run of the pipeline did, for a person and for scripts."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any, TextIO

import psutil

from minimal_llm.common.artifacts import STAGES, Artifacts
from minimal_llm.common.errors import Interrupted, MinimalLlmError
from minimal_llm.common.files import read_json, write_json

RUN_VARIABLE = "MINIMAL_LLM_RUN"  # set by `make train`, so that its stages write into one record
STDERR_LINES = 50


class StatusFile:
    """The record of one run: phases go pending -> running -> completed, failed or interrupted; or skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._record: dict[str, Any] = {}  # as this process wrote it last, also where the disk refused it

    def read(self) -> dict[str, Any]:
        """Return the record, empty if there is none that can be read."""
        try:
            content = read_json(self._path)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def start_run(self, run: str, command: str) -> None:
        """Begin a new record."""
        self._write({"id": run, "command": command, "state": "running", "started": _now(), **_empty_phases()})

    def start_phase(self, phase: str) -> None:
        """Note that a stage begins. In a run by DVC, those before it that did not run were up to date: skipped."""
        run, in_pipeline = current_run()
        record = self.read()
        if in_pipeline and record.get("id") != run:
            self.start_run(run, "dvc repro")
            record = self._record
        elif not in_pipeline:  # a stage by hand: what is known of the other phases stays
            command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
            record = {**_empty_phases(), **record, "id": run, "command": command, "started": _now()}
        if in_pipeline:
            for earlier in STAGES[: STAGES.index(phase)]:
                if record["phases"][earlier]["state"] == "pending":
                    record["phases"][earlier] = {"state": "skipped"}
        record["phases"][phase] = {"state": "running", "started": _now(), "pid": os.getpid()}
        record |= {"state": "running", "current_phase": phase, "error": None}
        self._write(record)

    def complete_phase(self, phase: str, seconds: float, artifacts: Artifacts) -> None:
        """Note that a stage is done, with the sizes of what it made."""
        record = self._record
        record["phases"][phase] = {
            "state": "completed",
            "seconds": round(seconds, 3),
            "artifacts": {str(path): _size(path) for path in artifacts.outputs(phase)},
        }
        waiting = any(entry["state"] == "pending" for entry in record["phases"].values())
        done = not (waiting and current_run()[1])
        record |= {"current_phase": None, "state": "succeeded" if done else "running"}
        self._write(record)

    def fail_phase(self, phase: str, seconds: float, error: MinimalLlmError, stderr: list[str]) -> None:
        """Note why a stage ended; one that was not noted as begun ended too early to be noted at all."""
        if not self._record:
            return
        state = "interrupted" if error.kind == "interrupted" else "failed"
        record = self._record
        record["phases"][phase] = {"state": state, "seconds": round(seconds, 3)}
        record |= {
            "state": state,
            "current_phase": phase,
            "error": {
                "phase": phase,
                "kind": error.kind,
                "exit_code": error.exit_code,
                "message": error.message,
                "remedy": error.remedy,
                "stderr": stderr,
            },
        }
        self._write(record)

    def finish_run(self, succeeded: bool) -> dict[str, Any]:
        """Close the record of `make train` and return it: what did not run in a success was up to date."""
        record = self.read() or self._record
        killed = record["current_phase"] if record["state"] == "running" and not succeeded else None
        if killed:  # whoever is killed writes no last words
            self._record = record
            self.fail_phase(killed, 0.0, _killed(killed), [])
            return self._record
        if succeeded:
            for phase, entry in record["phases"].items():
                if entry["state"] == "pending":
                    record["phases"][phase] = {"state": "skipped"}
        if record["state"] == "running":
            record |= {"state": "succeeded" if succeeded else "failed", "current_phase": None}
        self._write(record)
        return record

    def _write(self, record: dict[str, Any]) -> None:
        self._record = record
        try:
            write_json(self._path, {**record, "updated": _now()})
        except OSError as error:  # a full disk is reported for what it stops, not for this note about it
            print(f"warning: {self._path} cannot be written: {error.strerror}", file=sys.stderr)


class StderrTail:
    """Stands in for sys.stderr, passes all on and keeps the last lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._open = ""

    def write(self, text: str) -> int:
        """Pass `text` on; a carriage return starts a progress bar's line anew."""
        *done, self._open = (self._open + text).split("\n")
        self._lines.extend(line.rsplit("\r", 1)[-1] for line in done)
        return self._stream.write(text)

    def lines(self) -> list[str]:
        """Return the last lines, the oldest first."""
        return [*self._lines, self._open.rsplit("\r", 1)[-1]] if self._open.strip() else list(self._lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def current_run() -> tuple[str, bool]:
    """Return the id of the pipeline run that this process belongs to, and whether there is one around it."""
    if given := os.environ.get(RUN_VARIABLE):
        return given, True
    for parent in psutil.Process().parents():
        try:
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:3]):
                return _name_id(f"{parent.pid}/{parent.create_time()}"), True
        except psutil.Error:  # it ended meanwhile, or belongs to somebody else
            continue
    return _name_id(f"{os.getpid()}/{psutil.Process().create_time()}"), False


def _killed(phase: str) -> MinimalLlmError:
    return Interrupted(
        f"{phase} was killed: by kill -9, or by the system because memory ran out",
        remedy="make train goes on from the last checkpoint; if it was memory: make train BATCH_SIZE=16",
    )


def _name_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def _empty_phases() -> dict[str, Any]:
    return {"current_phase": None, "phases": {stage: {"state": "pending"} for stage in STAGES}, "error": None}


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
