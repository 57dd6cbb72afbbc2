"""Training runs that tests start, stop and compare."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import PARAMS, Config, flatten, load_config
from minimal_llm.common.errors import MinimalLlmError
from minimal_llm.common.live_log import read_events
from tests.support.stages import ROOT, TINY, clean_environment, run_stage

EQUAL_FOR_EQUAL_RUNS = (
    "best_model.pt",
    "final_model.pt",
    "training_metrics.json",
    "metrics/train.json",
    "plots/history.csv",
    "plots/steps.csv",
)
# A run of a few seconds that writes checkpoints all the time. How often it does so does not affect the result.
RUN = ["--epochs", "6", "--checkpoint-every-seconds", "0.1", "--checkpoint-every-epochs", "3"]


def torch_bytes(content: dict[str, Any]) -> bytes:
    """Return what torch.save writes, as in model files and checkpoints."""
    import torch  # imported here, because most tests do not need it

    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


class Malicious:
    """Creates a folder when it is unpickled by a program that does not take care."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._trace),)


def read(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def outcome(folder: Path) -> dict[str, bytes]:
    """Return the files that must be identical for equal runs."""
    return {name: (folder / name).read_bytes() for name in EQUAL_FOR_EQUAL_RUNS}


def start_training(
    tokens: Path, output: Path, flags: list[str], before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start the train stage; `before` runs in the new process before Python starts."""
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
    """Return the checkpoints in an output folder, oldest first."""
    return sorted(folder.glob("checkpoints/*/step_*.pt"), key=lambda path: path.name)


def trained_epochs(folder: Path) -> int:
    """Return how many epochs were trained in an output folder, by all runs and processes."""
    logs = folder.glob("checkpoints/*/log.jsonl")
    return sum(event["event"] == "epoch" for log in logs for event in read_events(log))


def torn_writes(folder: Path) -> list[Path]:
    """Return the partial files left by a process that was killed while writing a checkpoint."""
    return list(folder.glob("checkpoints/*/.step_*.tmp"))


def wait_until(happened: Callable[[], object], process: subprocess.Popen[Any], pause: float = 0.01) -> None:
    """Wait for something that a running process should cause. If it ends or takes too long, kill it and fail."""
    deadline = time.monotonic() + 90
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(pause)


def wait_for_training(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has the lock of its run, which means that training begins."""
    wanted = f"{process.pid}\n"
    wait_until(lambda: any(p.read_text() == wanted for p in folder.glob("checkpoints/*/pid")), process)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Wait until there are at least `count` checkpoints."""
    wait_until(lambda: len(checkpoints(folder)) >= count, process)


def tiny_config(stage: str, **changes: Any) -> Config:
    """Return the parameters that `run_stage` uses for a stage; parameters with names such as d_model can be changed."""
    sections = {"tokenizer": ("split.", "tokenizer."), "train": ("model.", "train."), "validate": ("validate.",)}[stage]
    params = ROOT / PARAMS
    keys = {key.rpartition(".")[2]: key for key in flatten(load_config(params)) if key.startswith(sections)}
    flags = zip(TINY[stage][::2], TINY[stage][1::2], strict=True)
    values = {flag.removeprefix("--").replace("-", "_"): value for flag, value in flags} | changes
    return load_config(params, {keys[name]: value for name, value in values.items()})


def refusal(stage: str, folder: Path, **changes: Any) -> MinimalLlmError:
    """Run a stage in this process, check that it refuses and leaves the folder unchanged; return the error."""
    from minimal_llm.training.train import train  # imported here, because most tests need neither of the two
    from minimal_llm.validation.validate import validate

    artifacts = Artifacts(folder)
    before = _contents(artifacts)
    with pytest.raises(MinimalLlmError) as refused:
        {"train": train, "validate": validate}[stage](tiny_config(stage, **changes), artifacts, artifacts)
    assert _contents(artifacts) == before
    return refused.value


def failure(folder: Path, stage: str, code: int, kind: str, *flags: str) -> str:
    """Run a stage that must fail; check exit code, status file and that the folder is unchanged; return its stderr."""
    artifacts = Artifacts(folder)
    before = _contents(artifacts)
    done = run_stage(stage, folder, *flags)
    assert done.returncode == code, done.stderr
    check_failure(folder, stage, kind, done.stderr)
    assert _contents(artifacts) == before
    return done.stderr


def check_failure(folder: Path, stage: str, kind: str, stderr: str) -> None:
    """Check that a failed stage said what to do and recorded what happened."""
    assert "Traceback" not in stderr
    assert "What to do:" in stderr
    status = read(Artifacts(folder).status)
    assert (status["state"], status["error"]["phase"], status["error"]["kind"]) == ("failed", stage, kind)
    assert any("error:" in line for line in status["error"]["stderr"])


def _contents(artifacts: Artifacts) -> dict[Path, bytes]:
    files = (path for path in artifacts.root.rglob("*") if path.is_file() and path != artifacts.status)
    return {path: path.read_bytes() for path in files if artifacts.checkpoints not in path.parents}
