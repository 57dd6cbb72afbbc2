"""pipeline_status.json: what the last run of the pipeline did, for people and for scripts."""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, Field

from minimal_llm.common.artifacts import STAGES, Artifacts
from minimal_llm.common.errors import Interrupted, MinimalLlmError
from minimal_llm.common.files import read_record, size_of, write_json

RUN_VARIABLE = "MINIMAL_LLM_RUN"  # set by `minimal-llm train`, so that its stages write into one record


class _Phase(BaseModel):
    state: str
    seconds: float = 0.0
    pid: int = 0
    artifacts: dict[str, int] = {}


class _Error(BaseModel):
    phase: str
    kind: str
    exit_code: int
    message: str
    remedy: str


class _Record(BaseModel):
    """What those who read a record rely on: a crash or a flipped bit can leave other JSON."""

    id: str
    command: str
    state: str
    started: str
    current_phase: str | None
    phases: dict[Literal["download", "tokenizer", "train", "validate"], _Phase] = Field(min_length=len(STAGES))
    error: _Error | None


class StatusFile:
    """The record of one run. Phases go from pending to running to completed, failed or interrupted; or are skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._record: dict[str, Any] = {}  # what this process wrote last, even if the disk refused it

    def read(self) -> dict[str, Any]:
        """Return the record, empty if there is none or it is damaged."""
        record = read_record(self._path)
        try:
            _Record.model_validate(record)
        except ValueError:
            return {}
        return record

    def start_run(self, run: str, command: str) -> None:
        """Begin a new record."""
        self._write({"id": run, "command": command, "state": "running", "started": _now(), **_empty_phases()})

    def start_phase(self, phase: str) -> None:
        """Record that a stage starts. Under DVC, earlier stages that did not run were up to date: skipped."""
        run, in_pipeline = current_run()
        record = self.read()
        if in_pipeline:
            if record.get("id") != run:
                self.start_run(run, "dvc repro")
                record = self._record
            _skip_pending(record, STAGES[: STAGES.index(phase)])
        else:  # a stage run by hand: what is known of the other phases stays
            command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
            record = {**_empty_phases(), **record, "id": run, "command": command, "started": _now()}
        record["phases"][phase] = {"state": "running", "started": _now(), "pid": os.getpid()}
        self._write({**record, "state": "running", "current_phase": phase, "error": None})

    def complete_phase(self, phase: str, seconds: float, artifacts: Artifacts) -> None:
        """Record that a stage is done, with the sizes of what it made in bytes."""
        record = self._record
        sizes = {str(path): size_of(path) for path in artifacts.outputs(phase)}
        record["phases"][phase] = {"state": "completed", "seconds": round(seconds, 3), "artifacts": sizes}
        more_to_come = current_run()[1] and any(entry["state"] == "pending" for entry in record["phases"].values())
        self._write({**record, "current_phase": None, "state": "running" if more_to_come else "succeeded"})

    def fail_phase(self, phase: str, seconds: float, error: MinimalLlmError, stderr: list[str]) -> None:
        """Record why a stage ended; do nothing if its start was not recorded."""
        if not self._record:
            return
        state = "interrupted" if error.kind == "interrupted" else "failed"
        self._record["phases"][phase] = {"state": state, "seconds": round(seconds, 3)}
        details = {"phase": phase, "kind": error.kind, "exit_code": error.exit_code}
        details |= {"message": error.message, "remedy": error.remedy, "stderr": stderr}
        self._write({**self._record, "state": state, "current_phase": phase, "error": details})

    def finish_run(self, succeeded: bool) -> dict[str, Any]:
        """Close the record of a run and return it: in a success, what did not run was up to date."""
        self._record = record = self.read() or self._record
        phase = record["current_phase"]
        if record["state"] == "running" and phase and not succeeded:  # a killed stage cannot record its own end
            told = f"{phase} was killed, by kill -9 or by the system because memory ran out"
            remedy = "make train resumes from the last checkpoint; if memory ran out: make train BATCH_SIZE=16"
            self.fail_phase(phase, 0.0, Interrupted(told, remedy=remedy), [])
            return self._record
        if succeeded:
            _skip_pending(record, STAGES)
        if record["state"] == "running":
            record |= {"state": "succeeded" if succeeded else "failed", "current_phase": None}
        self._write(record)
        return record

    def _write(self, record: dict[str, Any]) -> None:
        self._record = record
        try:
            write_json(self._path, {**record, "updated": _now()})
        except OSError as error:  # a full disk fails what it stops, not this record of it
            print(f"warning: cannot write {self._path}: {error.strerror}", file=sys.stderr)


def current_run() -> tuple[str, bool]:
    """Return the id of the run that this process belongs to, and whether it is one of the whole pipeline."""
    if given := os.environ.get(RUN_VARIABLE):
        return given, True
    for parent in psutil.Process().parents():
        with suppress(psutil.Error):  # it has ended, or belongs to another user
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:3]):
                return _process_id(parent), True
    return _process_id(psutil.Process()), False


def _process_id(process: psutil.Process) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{process.pid}/{process.create_time()}"))


def _empty_phases() -> dict[str, Any]:
    return {"current_phase": None, "phases": {stage: {"state": "pending"} for stage in STAGES}, "error": None}


def _skip_pending(record: dict[str, Any], phases: tuple[str, ...]) -> None:
    for phase in phases:
        if record["phases"][phase]["state"] == "pending":
            record["phases"][phase] = {"state": "skipped"}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
