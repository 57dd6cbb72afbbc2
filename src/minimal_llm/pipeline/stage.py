"""What all stage scripts share: flags named after params.yaml, the status record, errors turned into exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn, TextIO, get_origin

from pydantic import BaseModel

from minimal_llm.common.artifacts import DATA, Artifacts
from minimal_llm.common.config import PARAMS, Config, load_config
from minimal_llm.common.errors import (
    ConfigurationError,
    CorpusError,
    Interrupted,
    MinimalLlmError,
    TokenizerError,
    TrainingError,
    ValidationError,
    file_error,
)
from minimal_llm.common.output import outlive_readers
from minimal_llm.common.ranks import TEAM_RECORDS, rank
from minimal_llm.common.signals import stop_signals
from minimal_llm.common.system import limit_spinning
from minimal_llm.pipeline.busy import held, stage_refusal
from minimal_llm.pipeline.memory_estimate import less_memory, training_memory_mb
from minimal_llm.pipeline.processes import record_error
from minimal_llm.pipeline.status import StatusFile
from minimal_llm.pipeline.unchanged import inputs_for_dvc, require_unchanged

# In this order: torch's allocator, oneDNN inside a matmul (two), the C++ runtime, CUDA, the library loader, and the
# stack of a new thread
ALLOCATOR_FAILURES = (
    "can't allocate memory",
    "could not create a memory",
    "could not create a primitive",
    "bad_alloc",
    "out of memory",
    "failed to map segment",
    "Resource temporarily unavailable",
)
# Of gloo, NCCL, and the store of torch.distributed
LOST_CONNECTIONS = ("gloo/", "ncclRemoteError", "NCCL error", "Connection closed by peer", "Connection reset by peer")
STDERR_LINES = 50  # kept in pipeline_status.json

Work = Callable[[Config, Artifacts, Artifacts], None]


class Shortcut(NamedTuple):
    """A flag that sets several parameters at once: `parameters` returns them for the values of the flag."""

    flag: str
    help: str
    parameters: Callable[[Sequence[str]], dict[str, Any]]


_STAGE_ERRORS: dict[str, type[MinimalLlmError]] = {
    "download": CorpusError,
    "tokenizer": TokenizerError,
    "train": TrainingError,
    "validate": ValidationError,
}


def run_stage(
    name: str, sections: Sequence[str], description: str | None, work: Work, shortcuts: Sequence[Shortcut] = ()
) -> int:
    """Run one stage from its command line and return its exit code.

    `work(config, inputs, outputs)` does it. `sections` are those of params.yaml whose keys become flags.
    """
    try:
        options = _parser(sections, description, shortcuts).parse_args()
        config = load_config(options.params, _overrides(options, sections, shortcuts))
    except MinimalLlmError as error:
        return report(error)
    limit_spinning()
    inputs = Artifacts(options.data_dir, config.tokenizer.name)
    outputs = Artifacts(options.output_dir or options.data_dir, config.tokenizer.name)
    outlive_readers()
    if TEAM_RECORDS in os.environ:
        return _run_member(lambda: _explained(work, name, config, inputs, outputs))
    if rank():  # of those that a user has started with torchrun, the first one keeps the record
        return run_check(lambda: _explained(work, name, config, inputs, outputs))
    tail = sys.stderr = StderrTail(sys.stderr)
    status = StatusFile(outputs.status)
    started = time.monotonic()
    _handle_signals(_interrupt_once)
    try:
        with _sole_stage(name, outputs, status):
            status.start_phase(name)
            before = inputs_for_dvc(name)
            work(config, inputs, outputs)
            _handle_signals(signal.SIG_IGN)  # everything is made: nothing is left to interrupt
            require_unchanged(name, before)
    except (Exception, KeyboardInterrupt) as error:
        known = _known(error, name, config, outputs)
        code = report(known)
        status.fail_phase(name, time.monotonic() - started, known, tail.lines())
        return code
    status.complete_phase(name, time.monotonic() - started, outputs)
    return 0


def _run_member(work: Callable[[], None]) -> int:
    """Do the work of one of the processes that another stage process has started, which keeps the record."""
    try:
        work()
    except MinimalLlmError as error:
        record_error(error)
        return error.exit_code
    finally:
        _handle_signals(signal.SIG_IGN)  # that one failed makes the others get a signal, perhaps while they end
    return 0


def _explained(work: Work, name: str, config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Do the work; raise any error as one of this project."""
    _handle_signals(_interrupt_once)
    try:
        work(config, inputs, outputs)
    except (Exception, KeyboardInterrupt) as error:
        raise _known(error, name, config, outputs) from error


def _known(error: BaseException, name: str, config: Config, outputs: Artifacts) -> MinimalLlmError:
    """Return an error of this project for the one being handled; print the traceback of one that is a bug."""
    known = explain(error, name, config, outputs.root)
    if known is not error and known.kind == "internal":
        traceback.print_exc()
    return known


@contextmanager
def _sole_stage(name: str, outputs: Artifacts, status: StatusFile) -> Iterator[None]:
    """Keep other stages from writing into the folder of the outputs during the block: DVC that was killed leaves one.

    Raises:
        MinimalLlmError: another stage is at work there; its status record stays.
    """
    outputs.root.mkdir(parents=True, exist_ok=True)
    with held(outputs.root) as free:
        if not free:
            raise stage_refusal(outputs.root, status.read(), _STAGE_ERRORS[name])
        yield


def run_check(work: Callable[[], None]) -> int:
    """Run work that is no phase of a run, and return its exit code."""
    try:
        work()
    except MinimalLlmError as error:
        return report(error)
    return 0


def report(error: MinimalLlmError) -> int:
    """Print an error and return its exit code."""
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


class StderrTail:
    """Replaces sys.stderr: passes everything on and keeps the last lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._open = ""

    def write(self, text: str) -> int:
        """Pass `text` on; of a line with carriage returns, such as a progress bar, the last state is kept."""
        *done, self._open = (self._open + text).split("\n")
        self._lines.extend(line.rsplit("\r", 1)[-1] for line in done)
        return self._stream.write(text)

    def lines(self) -> list[str]:
        """Return the last lines, oldest first."""
        return [*self._lines, self._open.rsplit("\r", 1)[-1]] if self._open.strip() else list(self._lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def explain(error: BaseException, stage: str, config: Config, folder: Path = DATA) -> MinimalLlmError:
    """Return an error of this project for any error; one that the user did not cause is of kind `internal`."""
    failure = _STAGE_ERRORS[stage]
    if isinstance(error, MinimalLlmError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(f"{stage} was interrupted", remedy="run it again: make train, or dvc repro")
    if _is_out_of_memory(error):
        message, remedy = "Out of memory", "close other programs, or use a smaller corpus"
        if stage == "train":
            change, remedy = less_memory(config)
            message += f": {change} (training needs about {training_memory_mb(config):,.0f} MB)"
        return failure(message, remedy=remedy, kind="out_of_memory")
    if any(text in str(error) for text in LOST_CONNECTIONS):
        return failure(
            f"process {rank()} lost its connection to another one, which has ended or is out of reach",
            remedy="look at the output of the others, then the same command again: it resumes",
            kind="lost_connection",
        )
    if isinstance(error, OSError):
        return file_error(error, failure, folder)
    return failure(f"{type(error).__name__}: {error}", remedy="this is a bug: please report it", kind="internal")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, BlockingIOError):  # its text is that of a thread without memory, but it is about a file
        return False
    return any(text in str(error) for text in ALLOCATOR_FAILURES)


def _handle_signals(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in stop_signals():
        signal.signal(number, handler)


def _interrupt_once(_number: int, _frame: FrameType | None) -> NoReturn:
    _handle_signals(signal.SIG_IGN)  # a second one must not interrupt what the first one started
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message, remedy=f"python stages/{self.prog} --help")


def _parser(sections: Sequence[str], description: str | None, shortcuts: Sequence[Shortcut]) -> argparse.ArgumentParser:
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--params", type=Path, default=PARAMS, help="default: params.yaml; flags override it")
    parser.add_argument("--data-dir", type=Path, default=DATA, help="where the inputs are (default: data)")
    parser.add_argument("--output-dir", type=Path, help="where the outputs go (default: where the inputs are)")
    for shortcut in shortcuts:
        parser.add_argument(shortcut.flag, dest=shortcut.flag, metavar="PATH", nargs="+", help=shortcut.help)
    for key, annotation in _flags(Config, sections):
        many = get_origin(annotation) is tuple
        parser.add_argument(
            "--" + key.split(".", 1)[-1].replace(".", "-").replace("_", "-"),
            dest=key,
            metavar=key,
            nargs="*" if many else None,
        )
    return parser


def _flags(model: type[BaseModel], sections: Sequence[str], prefix: str = "") -> list[tuple[str, Any]]:
    """Return (dotted key, type) of every parameter of some sections."""
    flags: list[tuple[str, Any]] = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if prefix == "" and key not in sections:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            flags += _flags(field.annotation, sections, f"{key}.")
        else:
            flags.append((key, field.annotation))
    return flags


def _overrides(options: argparse.Namespace, sections: Sequence[str], shortcuts: Sequence[Shortcut]) -> dict[str, Any]:
    given = {name: value for name, value in vars(options).items() if value is not None}
    overrides = {key: given[key] for key, _ in _flags(Config, sections) if key in given}
    for shortcut in shortcuts:
        parameters = shortcut.parameters(given[shortcut.flag]) if shortcut.flag in given else {}
        for key in sorted(parameters.keys() & overrides):
            raise ConfigurationError(
                f"{shortcut.flag} sets {key}, which has a flag of its own here", remedy="leave one of the two out"
            )
        overrides |= parameters
    return overrides
