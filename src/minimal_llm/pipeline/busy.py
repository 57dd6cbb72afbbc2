"""Who is at work here. A second run is refused before it changes anything, with the process id of the first."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.pipeline.status import StatusFile

try:
    import fcntl
except ImportError:  # Windows: nobody is refused
    fcntl = None  # type: ignore[assignment]

RUN = Path(".dvc/tmp/make_train.pid")
SECONDS_TO_WRITE = 0.5
RWLOCK = Path(".dvc/tmp/rwlock")  # where DVC records which of its processes use which files


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a file or folder for this process, and yield whether no other one does; its end, however it ends, frees it.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks: nobody is refused
        pass
    return True


@contextmanager
def sole_run(artifacts: Artifacts) -> Iterator[None]:
    """Keep others from running the pipeline in this clone, or deleting its results, during the block.

    Raises:
        ConfigurationError: another one does, or a stage that outlived one is at work in the folder of the artifacts.
    """
    status = StatusFile(artifacts.status)
    status.require_idle()
    try:
        RUN.parent.mkdir(parents=True, exist_ok=True)
        RUN.touch()
    except OSError as error:
        raise ConfigurationError(
            f"{RUN} cannot be written: {error.strerror}", remedy="make .dvc writable, with some space left (df -h .dvc)"
        ) from error
    with held(RUN) as free:
        if not free:
            raise refusal(RUN.read_text(encoding="ascii").strip() or "unknown", "is running the pipeline")
        RUN.write_text(f"{os.getpid()}\n", encoding="ascii")
        _require_no_stage(artifacts.root, status)
        _require_no_dvc()
        yield


def refusal(pid: object, doing: str, error: type[MinimalLlmError] = ConfigurationError) -> MinimalLlmError:
    """Return the error that another process is `doing` what this one was to do."""
    return error(
        f"another process (pid {pid}) {doing}",
        remedy=f"wait for it to end, or stop it: kill {pid}",
        kind="configuration",
    )


def stage_refusal(
    data: Path, record: dict[str, Any], error: type[MinimalLlmError] = ConfigurationError
) -> MinimalLlmError:
    """Return the error that another stage is at work in the folder `data`, whose status record is given."""
    phase = record.get("current_phase")
    pid = record["phases"][phase].get("pid", "unknown") if phase else "unknown"
    return refusal(pid, f"is running stage {phase or 'unknown'} in {data}", error)


def _require_no_stage(data: Path, status: StatusFile) -> None:
    if not data.is_dir():
        return
    with held(data) as free:
        if not free:
            raise stage_refusal(data, status.read())


def _require_no_dvc() -> None:
    """Raise ConfigurationError if DVC is at work here; delete the lock that a killed one left and DVC would stop at."""
    holders = _holders()
    if holders is None:  # being written just now, or cut off by a kill or a full disk
        time.sleep(SECONDS_TO_WRITE)
        holders = _holders()
    existing = {pid: _command(pid) for pid in holders or () if psutil.pid_exists(pid)}
    for pid, command in existing.items():
        if any(Path(word).name == "dvc" for word in command[:3]):
            raise refusal(pid, f"is using the files of the pipeline: {' '.join(command[-3:])}")
    if holders is None or existing:  # another program has the process id, or nobody has taken note of its end
        RWLOCK.unlink(missing_ok=True)
        print(f"Deleted {RWLOCK}, which a DVC that was killed had left.", file=sys.stderr)


def _holders() -> set[int] | None:
    """Return the ids of the processes that DVC says are using files, or None if the file that says so is damaged."""
    try:
        locks = json.loads(RWLOCK.read_text(encoding="utf-8"))
        written, read = locks.get("write", {}).values(), locks.get("read", {}).values()
        return {int(each["pid"]) for each in (*written, *(each for several in read for each in several))}
    except FileNotFoundError:
        return set()
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _command(pid: int) -> list[str]:
    with suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []  # a zombie: it has ended, but its parent does not ask how, as in a container whose first process is sleep
