"""Training runs that tests start, stop and compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from tests.support.stages import ROOT, TINY, clean_environment, run_stage

EQUAL_FOR_EQUAL_RUNS = (
    "best_model.pt",
    "final_model.pt",
    "training_metrics.json",
    "metrics/train.json",
    "plots/history.csv",
)
# A run of a few seconds that leaves checkpoints all the way. How often it saves shapes no result.
RUN = ["--epochs", "6", "--checkpoint-every-seconds", "0.1", "--checkpoint-every-epochs", "3"]


class Malicious:
    """Unpickled by a careless program, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def outcome(folder: Path) -> dict[str, bytes]:
    """What must be equal for equal runs."""
    return {name: (folder / name).read_bytes() for name in EQUAL_FOR_EQUAL_RUNS}


def start_training(
    tokens: Path, output: Path, flags: list[str], before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """A train stage at work; `before` runs in its process, before Python does."""
    command = [sys.executable, "stages/train.py", "--data-dir", str(tokens), "--output-dir", str(output)]
    return subprocess.Popen(
        [*command, *TINY["train"], *flags],
        cwd=ROOT,
        env=clean_environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,
    )


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below an output folder, the oldest first."""
    return sorted(folder.glob("checkpoints/*/step_*.pt"), key=lambda path: path.name)


def torn_writes(folder: Path) -> list[Path]:
    """What a process leaves that is killed while it writes a checkpoint."""
    return list(folder.glob("checkpoints/*/.step_*.tmp"))


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str], pause: float = 0.01) -> None:
    """Wait for something that a process at work brings about; where it does not, end it and fail."""
    deadline = time.monotonic() + 90
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(pause)


def wait_for_training(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has the lock of its run, which is when training begins."""
    wanted = f"{process.pid}\n"
    wait_until(lambda: any(p.read_text() == wanted for p in folder.glob("checkpoints/*/pid")), process)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Wait until there are so many checkpoints."""
    wait_until(lambda: len(checkpoints(folder)) >= count, process)


def failure(folder: Path, stage: str, code: int, kind: str, *flags: str) -> str:
    """The stderr of a stage that must fail, after checking exit code, status record and that nothing else changed."""
    artifacts = Artifacts(folder)
    before = _contents(artifacts)
    done = run_stage(stage, folder, *flags)
    assert done.returncode == code, done.stderr
    check_failure(folder, stage, kind, done.stderr)
    assert _contents(artifacts) == before
    return done.stderr


def check_failure(folder: Path, stage: str, kind: str, stderr: str) -> None:
    """Check that a failed stage told what to do and recorded what happened."""
    assert "Traceback" not in stderr
    assert "What to do:" in stderr
    status = read(Artifacts(folder).status)
    assert (status["state"], status["error"]["phase"], status["error"]["kind"]) == ("failed", stage, kind)
    assert any("error:" in line for line in status["error"]["stderr"])


def _contents(artifacts: Artifacts) -> dict[Path, bytes]:
    files = (path for path in artifacts.root.rglob("*") if path.is_file() and path != artifacts.status)
    return {path: path.read_bytes() for path in files if artifacts.checkpoints not in path.parents}
