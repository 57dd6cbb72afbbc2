"""Stage train in several processes on this machine, as torchrun starts them: each runs the stage's own command line."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minimal_llm.common import errors
from minimal_llm.common.errors import Interrupted, MinimalLlmError, TrainingError
from minimal_llm.common.files import read_record, write_json
from minimal_llm.common.ranks import TEAM_RECORDS, rank


def train_in_processes(count: int) -> None:
    """Run this command line in `count` processes that train together; return when all have finished.

    Raises:
        MinimalLlmError: the first error of a process; the others have been ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # errors are told below
    with tempfile.TemporaryDirectory() as records, _announced(records):
        launch = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # any free port
            run_id="train",
            max_restarts=0,
            monitor_interval=0.1,
        )
        try:
            elastic_launch(launch, sys.executable)(*sys.argv)
        except SignalException as error:
            raise _first_error(Path(records)) or _interrupted() from error
        except ChildFailedError as error:
            raise _first_error(Path(records)) or _killed(error.failures, count) from error


def record_error(error: MinimalLlmError) -> None:
    """Leave the error of this process for the one that started it."""
    folder = Path(os.environ[TEAM_RECORDS])
    content = {"type": type(error).__name__, "message": error.message, "remedy": error.remedy, "kind": error.kind}
    write_json(folder / f"{rank()}.json", content)


@contextmanager
def _announced(records: str) -> Iterator[None]:
    os.environ[TEAM_RECORDS] = records
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a warning that what team.py asks for costs time
    try:
        yield
    finally:
        del os.environ[TEAM_RECORDS]


def _first_error(records: Path) -> MinimalLlmError | None:
    """Return the error of the process that failed first; None if it left none, because it was killed.

    The others may have lost their connection to it since, which is no cause.
    """
    found = [read_record(path) for path in sorted(records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)]
    for record in (record for record in found if record["kind"] != "lost_connection"):
        failure: type[MinimalLlmError] = getattr(errors, record["type"])
        return failure(record["message"], remedy=record["remedy"], kind=record["kind"])
    return None


def _killed(failures: Mapping[int, Any], count: int) -> TrainingError:
    """Return the error that processes have died without a word."""
    exits = {number: failure.exitcode for number, failure in failures.items()}
    signals = {number: code for number, code in exits.items() if code < 0} or exits  # the others lost the connection
    died = [f"process {number} of {count} ended with code {code}" for number, code in sorted(signals.items())]
    return TrainingError(
        f"{'; '.join(died)}" + " (-9: killed, perhaps because the memory was full)" * ("-9" in str(died)),
        remedy="the same command again: it resumes from the last checkpoint",
        kind="internal",
    )


def _interrupted() -> Interrupted:
    return Interrupted("training was interrupted", remedy="make train (or dvc repro) resumes from the last checkpoint")
