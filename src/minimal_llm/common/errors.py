"""Errors that a user can cause. Each one says what is wrong and how to fix it, and carries an exit code."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

Kind = Literal[
    "disk_space",
    "network",
    "out_of_memory",
    "validation_failure",
    "configuration",
    "interrupted",
    "lost_connection",  # to another process of the same run, which has the cause
    "internal",
]

EXIT_INTERRUPTED = 130


class MinimalLlmError(Exception):
    """Base class: `message` says what is wrong, including the value; `remedy` says what to do, including the command.

    `exit_code` is the exit status of a stage that fails with this error; `kind` is its category in
    pipeline_status.json.
    """

    exit_code: ClassVar[int] = 1
    default_kind: ClassVar[Kind] = "internal"

    def __init__(self, message: str, *, remedy: str, kind: Kind | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.kind: Kind = kind or self.default_kind

    def __reduce__(self) -> tuple[Any, ...]:  # between processes: the default one passes no keyword arguments
        return partial(type(self), remedy=self.remedy, kind=self.kind), (self.message,)

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.remedy}"


class ConfigurationError(MinimalLlmError):
    """A parameter, prerequisite or command line is invalid."""

    exit_code = 1
    default_kind: ClassVar[Kind] = "configuration"


class CorpusError(MinimalLlmError):
    """A source of text cannot be fetched, read or accepted."""

    exit_code = 2
    default_kind: ClassVar[Kind] = "validation_failure"


class TokenizerError(MinimalLlmError):
    """A tokenizer cannot be trained, loaded or used with these files."""

    exit_code = 3
    default_kind: ClassVar[Kind] = "configuration"


class TrainingError(MinimalLlmError):
    """Training cannot start or continue."""

    exit_code = 4
    default_kind: ClassVar[Kind] = "internal"


class ValidationError(MinimalLlmError):
    """An artifact is missing, corrupt or not good enough."""

    exit_code = 5
    default_kind: ClassVar[Kind] = "validation_failure"


class BlockedError(MinimalLlmError):
    """The safety filter blocked a prompt (policy: docs/SAFETY.md)."""

    exit_code = 6
    default_kind: ClassVar[Kind] = "configuration"


class Interrupted(MinimalLlmError):
    """Ctrl+C, kill or the end of the terminal stopped the program at a safe point."""

    exit_code = EXIT_INTERRUPTED
    default_kind: ClassVar[Kind] = "interrupted"


# A full disk, an exceeded quota, and a file larger than ulimit -f allows
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def file_error(error: OSError, failure: type[MinimalLlmError], folder: Path) -> MinimalLlmError:
    """Return the error that a file cannot be read or written, with the remedy for its cause.

    `folder` is named if `error` names no file.
    """
    path = Path(error.filename or folder)
    kind: Kind = "configuration"
    remedy = f"chmod -R u+rwX {path.parent}" if isinstance(error, PermissionError) else "make check"
    if error.errno in OUT_OF_SPACE:
        kind, remedy = "disk_space", "free some disk space (df -h, quota, ulimit -f), then the same command again"
    elif error.errno == errno.EROFS:
        remedy = "mount its file system writable, or choose another folder, then the same command again"
    return failure(f"{path} cannot be read or written: {error.strerror or error}", remedy=remedy, kind=kind)
