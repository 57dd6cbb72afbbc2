"""What all stage scripts share: flags from params.yaml's names, the status record, errors turned into exit codes."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_origin

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
)
from minimal_llm.pipeline.memory_estimate import less_memory, training_memory_mb
from minimal_llm.pipeline.status import StatusFile, StderrTail

# In this order: torch's allocator, oneDNN inside of a matrix product (two), the C++ runtime, CUDA, the library loader
ALLOCATOR_FAILURES = (
    "can't allocate memory",
    "could not create a memory",
    "could not create a primitive",
    "bad_alloc",
    "out of memory",
    "failed to map segment",
)

Work = Callable[[Config, Artifacts, Artifacts], None]

_STAGE_ERRORS: dict[str, type[MinimalLlmError]] = {
    "download": CorpusError,
    "tokenizer": TokenizerError,
    "train": TrainingError,
    "validate": ValidationError,
}


def run_stage(name: str, sections: Sequence[str], description: str | None, work: Work) -> int:
    """Run one stage from its command line and return its exit code.

    `work(config, inputs, outputs)` does it; `sections` are those of params.yaml whose keys become flags.
    """
    options = _parser(sections, description).parse_args()
    try:
        config = load_config(options.params, _overrides(options, sections))
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    inputs = Artifacts(options.data_dir, config.tokenizer.name)
    outputs = Artifacts(options.output_dir or options.data_dir, config.tokenizer.name)
    tail = sys.stderr = StderrTail(sys.stderr)
    status = StatusFile(outputs.status)
    started = time.monotonic()
    _handle_signals(_interrupt_once)
    try:
        status.start_phase(name)
        work(config, inputs, outputs)
        _handle_signals(signal.SIG_IGN)  # all is made: nothing is left to break off
    except (Exception, KeyboardInterrupt) as error:
        known = explain(error, name, config)
        if known.kind == "internal":
            traceback.print_exc()
        print(f"error: {known}", file=sys.stderr)
        status.fail_phase(name, time.monotonic() - started, known, tail.lines())
        return known.exit_code
    status.complete_phase(name, time.monotonic() - started, outputs)
    return 0


def explain(error: BaseException, stage: str, config: Config) -> MinimalLlmError:
    """Return the error of this project that stands for any error: what is not the user's is `internal`."""
    failure = _STAGE_ERRORS[stage]
    if isinstance(error, MinimalLlmError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(f"{stage} was interrupted", remedy="make train (or dvc repro) runs it again")
    if _is_out_of_memory(error):
        told, remedy = "Out of memory", "close other programs, or use a smaller corpus"
        if stage == "train":
            change, remedy = less_memory(config)
            told += f": {change} (training needs about {training_memory_mb(config):,.0f} MB)"
        return failure(told, remedy=remedy, kind="out_of_memory")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return failure(
            f"the disk is full: {error.filename}", remedy="free some space (df -h), run it again", kind="disk_space"
        )
    if isinstance(error, OSError):
        return failure(f"{error.filename}: {error.strerror}", remedy="make check", kind="configuration")
    return failure(
        f"{type(error).__name__}: {error}", remedy="this is a fault of the program: please report it", kind="internal"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(text in str(error) for text in ALLOCATOR_FAILURES)


def _handle_signals(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _interrupt_once(_number: int, _frame: FrameType | None) -> NoReturn:
    _handle_signals(signal.SIG_IGN)  # a second one must not break off what the first one led to
    raise KeyboardInterrupt


def _parser(sections: Sequence[str], description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="default: params.yaml; flags override it")
    parser.add_argument("--data-dir", type=Path, default=DATA, help="where the inputs are (default: data)")
    parser.add_argument("--output-dir", type=Path, help="where the outputs go (default: where the inputs are)")
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


def _overrides(options: argparse.Namespace, sections: Sequence[str]) -> dict[str, Any]:
    given = vars(options)
    return {key: given[key] for key, _ in _flags(Config, sections) if given[key] is not None}
