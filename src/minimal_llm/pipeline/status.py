"""pipeline_status.json: what the last run of the pipeline did, for people and for scripts.

A record belongs to the run that began it for as long as a process of that run lives; until then nobody else writes it.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
from pydantic import BaseModel, Field

from minimal_llm.common.artifacts import STAGES, Artifacts
from minimal_llm.common.errors import ConfigurationError, Interrupted, MinimalLlmError
from minimal_llm.common.files import read_record, size_of, write_json
from minimal_llm.common.system import is_alive

RUN_VARIABLE = "MINIMAL_LLM_RUN"  # set by `minimal-llm train`, so that its stages write into one record


class _Phase(BaseModel):
    state: str
    started: datetime | None = None
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
    pid: int = 0
    command: str
    state: str
    started: datetime
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

    def require_idle(self) -> None:
        """Raise ConfigurationError if another run is in progress: the record, and what it makes, are its own."""
        if pid := _living_owner(self.read(), current_run()):
            raise ConfigurationError(
                f"another run is in progress here (pid {pid})",
                remedy=f"wait for it to finish (make watch), or stop it: kill {pid}",
            )

    def start_run(self, run: str, command: str, pid: int | None = None) -> None:
        """Begin a new record of a run, which is that of process `pid`, by default this one."""
        head = {"id": run, "pid": pid or os.getpid(), "command": command, "state": "running", "started": _now()}
        self._write({**head, **_empty_phases()})

    def start_phase(self, phase: str) -> None:
        """Record that a stage starts. Under DVC, earlier stages that did not run were up to date: skipped.

        The record of another run that is in progress stays as it is, and this object writes nothing from then on.
        """
        run = current_run()
        record = self.read()
        if _living_owner(record, run):
            return
        if run.of_pipeline:
            if record.get("id") != run.id:
                self.start_run(run.id, "dvc repro", run.pid)
                record = self._record
            _skip_pending(record, STAGES[: STAGES.index(phase)])
        else:  # a stage run by hand: what is known of the other phases stays
            command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
            head = {"id": run.id, "pid": run.pid, "command": command, "started": _now()}
            record = {**_empty_phases(), **record, **head}
        record["phases"][phase] = {"state": "running", "started": _now(), "pid": os.getpid()}
        self._write({**record, "state": "running", "current_phase": phase, "error": None})

    def complete_phase(self, phase: str, seconds: float, artifacts: Artifacts) -> None:
        """Record that a stage is done, with the sizes in bytes of what it made, if its start was recorded."""
        record = self._record
        if not record:
            return
        sizes = {str(path): size_of(path) for path in artifacts.outputs(phase)}
        record["phases"][phase] = {"state": "completed", "seconds": round(seconds, 3), "artifacts": sizes}
        state = "succeeded"
        if current_run().of_pipeline and any(entry["state"] == "pending" for entry in record["phases"].values()):
            state = "running" if process_lives(record) else "interrupted"  # DVC was killed
        self._write({**record, "current_phase": None, "state": state})

    def fail_phase(self, phase: str, seconds: float, error: MinimalLlmError, stderr: list[str]) -> None:
        """Record why a stage ended; do nothing if its start was not recorded."""
        if not self._record:
            return
        state = "interrupted" if error.kind == "interrupted" else "failed"
        self._record["phases"][phase] = {"state": state, "seconds": round(seconds, 3)}
        error_details = _details(phase, error, stderr)
        self._write({**self._record, "state": state, "current_phase": phase, "error": error_details})

    def finish_run(self, succeeded: bool) -> dict[str, Any]:
        """Close the record of a run and return it: in a success, what did not run was up to date."""
        record = self.read()
        if record.get("id") == self._record["id"]:  # otherwise unreadable, or by now that of another run
            self._record = record
        record, phase = self._record, self._record["current_phase"]
        if record["state"] == "running" and phase and not succeeded:  # a killed stage cannot record its own end
            if process_lives(entry := record["phases"][phase]):
                return {**record, "error": _details(phase, _orphaned(phase, entry["pid"]), [])}
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


class Run(NamedTuple):
    """The run that a process belongs to: its id, the PID of what drives it, whether it is of the whole pipeline."""

    id: str
    pid: int
    of_pipeline: bool


def current_run() -> Run:
    """Return the run of this process: that of DVC if it is a stage that DVC started, else one of its own."""
    given, own = os.environ.get(RUN_VARIABLE), psutil.Process()
    for parent in own.parents():
        with suppress(psutil.Error):  # it has ended, or belongs to another user
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:3]):
                return Run(given or _process_id(parent), parent.pid, True)
    return Run(given or _process_id(own), own.pid, bool(given))


def _living_owner(record: Mapping[str, Any], run: Run) -> int:
    """Return the PID of a process of the run that a record is of, if that is another run in progress; else 0."""
    if record.get("state") != "running" or record["id"] == run.id:
        return 0
    processes = [record, *(entry for entry in record["phases"].values() if entry["state"] == "running")]
    return next((each["pid"] for each in processes if each.get("pid") != run.pid and process_lives(each)), 0)


def process_lives(entry: Mapping[str, Any]) -> bool:
    """Return whether the process of a run or a phase still exists."""
    return "pid" in entry and is_alive(entry["pid"], datetime.fromisoformat(entry["started"]).timestamp())


def _orphaned(phase: str, pid: int) -> Interrupted:
    return Interrupted(
        f"DVC has ended, but its stage {phase} (pid {pid}) is still at work",
        remedy=f"wait for it (make watch), or stop it: kill {pid}; then make train resumes",
    )


def _details(phase: str, error: MinimalLlmError, stderr: list[str]) -> dict[str, Any]:
    """Return what a record says about an error."""
    details = {"phase": phase, "kind": error.kind, "exit_code": error.exit_code}
    return details | {"message": error.message, "remedy": error.remedy, "stderr": stderr}


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
