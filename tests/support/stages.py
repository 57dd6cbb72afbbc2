"""Ways to run the stage scripts and other programs as a user does."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY_FLAGS = {
    "download": "--source primer --primer-megabytes 0.1",
    "tokenizer": "--vocab-size 1000 --block-bytes 1024 --threads 1",
    "train": "--epochs 2 --batch-size 8 --max-seq-length 32 --layers 1 --d-model 64 --heads 2 --feed-forward 128 "
    "--threads 1 --warmup-steps 5",
    "validate": "",
}
TINY = {stage: flags.split() for stage, flags in TINY_FLAGS.items()}


def clean_environment() -> dict[str, str]:
    """The environment without what would leak a run around these tests into them."""
    hidden = ("MINIMAL_LLM_RUN", "EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "MAX_SEQ_LENGTH", "VOCAB_SIZE", "CORPUS")
    hidden += (
        "RESUME",
        "NAME",
        "GRID",
        "JOBS",
        "SEEDS",
        "NPROC",
        "GUTENBERG_MIRRORS",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
    )
    kept = {name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("DVC_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}


def run_here(stage: str, *flags: str) -> object:
    """Run a stage script in this process, for what is cheap or has to be replaced; return its exit code."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"stages/{stage}.py", *flags])
            patch.setattr(sys, "stderr", sys.stderr)  # the stage replaces it
            patch.setattr(sys, "stdout", sys.stdout)
            patch.chdir(ROOT)
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(f"stages/{stage}.py", run_name="__main__")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return ended.value.code


def run_stage(
    stage: str, folder: Path, *flags: str, tiny: bool = True, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a stage script on a folder as a user does, small unless told otherwise, perhaps under another program."""
    command = [sys.executable, str(ROOT / "stages" / f"{stage}.py"), "--data-dir", str(folder)]
    return subprocess.run(
        [*under, *command, *(TINY[stage] if tiny else []), *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def run_program(
    *command: str, code: int = 0, stdin: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The finished command, run in a folder or here, after checking its exit code."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean_environment(),
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done


def succeed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The finished process, after asserting that it went well."""
    assert done.returncode == 0, f"{done.args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def copy_folder(source: Path, target: Path) -> Path:
    """A copy that a test may write into."""
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())
    return target
