"""Errors that a user can cause. Each one says what is wrong and how to fix it, and carries an exit code."""

from __future__ import annotations

from typing import ClassVar, Literal

Kind = Literal[
    "disk_space",
    "network",
    "out_of_memory",
    "validation_failure",
    "configuration",
    "interrupted",
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
