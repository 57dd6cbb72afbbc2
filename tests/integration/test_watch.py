"""`make watch` on a real terminal, beside real training."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pexpect
import psutil

from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

WAIT = 240  # seconds at most, where the tests share a core with other work


@contextmanager
def watching(clone: Clone) -> Iterator[pexpect.spawn]:
    """`make watch` on a terminal of 80 by 24 characters."""
    terminal = pexpect.spawn(
        "make",
        ["watch"],
        cwd=str(clone.folder),
        env=clone.environment,
        encoding="utf-8",
        timeout=WAIT,
        dimensions=(24, 80),
    )
    try:
        yield terminal
    finally:
        terminal.close(force=True)


@contextmanager
def process(clone: Clone, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running command; it and everything that it started are killed in the end."""
    running = subprocess.Popen(
        command,
        cwd=clone.folder,
        env=clone.environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            for child in [*psutil.Process(running.pid).children(recursive=True), running]:
                child.kill()
        running.wait()


def training(clone: Clone, output: str, *flags: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A train stage that runs for longer than any test."""
    return process(clone, sys.executable, "stages/train.py", "--epochs", "100", "--output-dir", output, *flags)


def leave(terminal: pexpect.spawn) -> None:
    """Press Ctrl+C; the view exits without an error."""
    terminal.sendcontrol("c")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == (0, None)
    assert "Traceback" not in terminal.before
    assert "Error" not in terminal.before


def test_it_waits_for_a_run_follows_it_and_reports_that_it_was_killed(experimental: Clone) -> None:
    shutil.rmtree(experimental.folder / "data" / "checkpoints", ignore_errors=True)
    with watching(experimental) as terminal:
        terminal.expect("No training has started here yet")
        with process(experimental, "make", "train", EPOCHS="60") as run:
            terminal.expect("running")
            terminal.expect(r"epoch [0-9]+/60")
            terminal.expect(r"tokens/s .* left")
            terminal.expect("validation loss")
            terminal.expect("Once upon a time")
            terminal.expect("Había una vez")
            os.kill(experimental.json("pipeline_status.json")["phases"]["train"]["pid"], signal.SIGKILL)
            terminal.expect("killed")
            terminal.expect("To resume the run")
            terminal.expect("make train")
            leave(terminal)
            assert run.wait(timeout=WAIT) == 2


def test_ctrl_c_leaves_and_training_continues(experimental: Clone) -> None:
    with training(experimental, "runs/a") as run, watching(experimental) as terminal:
        terminal.expect(r"epoch [0-9]+/100")
        leave(terminal)
        assert run.poll() is None


def test_several_runs_are_listed_and_without_a_terminal_it_prints_once(experimental: Clone) -> None:
    with training(experimental, "runs/a"), training(experimental, "runs/b", "--learning-rate", "0.0007"):
        with watching(experimental) as terminal:
            terminal.expect(r"learning_rate=0\.0007.*running")
        printed = experimental.run("make", "watch")
    assert "learning_rate=0.0007" in printed
    assert "learning_rate=0.004" in printed
    assert "\x1b" not in printed
