"""git and DVC, run for their output: the one place that does so."""

from __future__ import annotations

import subprocess

from minimal_llm.common.errors import ConfigurationError


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
