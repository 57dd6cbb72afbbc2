"""The errors that a user can cause. Each says what is wrong and what to do, and carries its exit code."""

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
    """What went wrong, with the value (`message`), and what to do, with the command (`remedy`).

    `exit_code` is the exit status of a stage that ends with it; `kind` is how pipeline_status.json files it.
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
    """A parameter, a prerequisite or a command line that cannot work."""

    exit_code = 1
    default_kind: ClassVar[Kind] = "configuration"


class CorpusError(MinimalLlmError):
    """A source of text that cannot be fetched, read or accepted."""

    exit_code = 2
    default_kind: ClassVar[Kind] = "validation_failure"


class TokenizerError(MinimalLlmError):
    """A tokenizer that cannot be trained, loaded or used with these files."""

    exit_code = 3
    default_kind: ClassVar[Kind] = "configuration"


class TrainingError(MinimalLlmError):
    """Training that cannot start or go on."""

    exit_code = 4
    default_kind: ClassVar[Kind] = "internal"


class ValidationError(MinimalLlmError):
    """An artifact that is missing, corrupt or not good enough."""

    exit_code = 5
    default_kind: ClassVar[Kind] = "validation_failure"


class BlockedError(MinimalLlmError):
    """A prompt that falls under the policy of docs/SAFETY.md."""

    exit_code = 6
    default_kind: ClassVar[Kind] = "configuration"


class Interrupted(MinimalLlmError):
    """SIGINT or SIGTERM stopped the work at a safe point."""

    exit_code = EXIT_INTERRUPTED
    default_kind: ClassVar[Kind] = "interrupted"
