"""Other programs, run for their output (git and DVC) or on this terminal (stages): the one place that does so."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

import psutil

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.signals import catch_signals


def run_stages(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run DVC, a stage or a script on this terminal. A signal makes a stage save and end.

    Return the exit code, which is 128 + N for a command that signal N killed, as in a shell.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    with catch_signals() as stop:  # a terminal sends SIGINT to the command as well
        process = subprocess.Popen(command, env=environment)

        def pass_on(number: int, frame: FrameType | None) -> None:
            # SIGTERM comes to this process alone. It would kill DVC and leave the stage running, so the stage gets it.
            stop.request(number, frame)
            started = psutil.Process(process.pid)
            for receiver in started.children(recursive=True) if command[0] == "dvc" else [started]:
                with suppress(psutil.NoSuchProcess):
                    receiver.terminate()

        signal.signal(signal.SIGTERM, pass_on)
        code = process.wait()
    return 128 - code if code < 0 else code


def output_of(*command: str, limit_seconds: float | None = None) -> str:
    """Return what a command prints to stdout.

    Raises:
        ConfigurationError: it is not installed, fails, or takes longer than the limit.
    """
    try:
        done = _run(*command, limit_seconds=limit_seconds)
    except FileNotFoundError:
        raise ConfigurationError(f"{command[0]} is not installed", remedy="make check") from None
    except subprocess.TimeoutExpired:
        raise _failure(command, f"no answer within {limit_seconds:g} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _failure(command, said[-1] if said else f"exit code {done.returncode}")
    return done.stdout


def git(*words: str) -> str:
    """Return what a git command prints, or an empty text if it fails: there is no such commit, file or value."""
    try:
        done = _run("git", *words)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _run(*command: str, limit_seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=limit_seconds,
        start_new_session=True,  # Ctrl+C on the terminal is for the caller, which shuts down cleanly
    )


def _failure(command: tuple[str, ...], reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{' '.join(command[:3])} failed: {reason}", remedy="make check, then the same command again"
    )
