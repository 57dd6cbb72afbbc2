"""Other programs, run for their output (git and DVC) or on this terminal (stages): the one place that does so."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.signals import catch_signals

POLL_SECONDS = 0.5


def run_stages(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run DVC, a stage or a script on this terminal. A signal makes a stage save and end.

    Return the exit code, which is 128 + N for a command that signal N killed, as in a shell.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    variables = {**(os.environ if environment is None else environment), "PYTHONUNBUFFERED": "1"}  # lines in order
    with_dvc = command[0] == "dvc"
    told: set[int] = set()
    with catch_signals() as stop:
        process = subprocess.Popen(command, env=variables, preexec_fn=_ignore_hangup if with_dvc else None)
        while process.poll() is None:
            if stop.signal not in (0, signal.SIGINT):  # a terminal sends SIGINT to the command as well
                _terminate(process.pid, told, with_dvc)
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    code = process.returncode
    return 128 - code if code < 0 else code


def _ignore_hangup() -> None:
    # DVC would die of the end of a terminal and leave its stage running. The stage inherits this and is told by us.
    if hangup := getattr(signal, "SIGHUP", None):
        signal.signal(hangup, signal.SIG_IGN)


def _terminate(pid: int, told: set[int], with_dvc: bool) -> None:
    """Ask a command to stop, once: under DVC, which would leave its stage running, the stage and those that follow."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid)
        for receiver in started.children(recursive=True) if with_dvc else [started]:
            if receiver.pid not in told:
                told.add(receiver.pid)
                receiver.terminate()


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
