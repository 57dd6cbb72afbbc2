"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = Path("data/best_model.pt")
# How each shell completes a path: filled when a completion script is printed, because only that takes the library.
PATH_COMPLETION: dict[str, Any] = {}


def add_path(parser: argparse._ActionsContainer, *names: str, **settings: Any) -> None:
    """Add an argument that shells complete as a path."""
    parser.add_argument(*names, **settings).complete = PATH_COMPLETION  # type: ignore[attr-defined]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the model."""
    add_path(parser, "--model", type=Path, default=MODEL, metavar="PATH", help=f"the model (default: {MODEL})")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add the options of a model at work."""
    add_model(parser)
    text = "CPU threads (default: 1, the fastest)"
    parser.add_argument("-t", "--threads", type=whole_number(1, 256), default=1, metavar="N", help=text)


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add the options that override params.yaml, unchecked: all parameters are checked together."""
    group = parser.add_argument_group("parameters", "Override params.yaml; DVC records them.")
    group.add_argument("--epochs", metavar="N", help="passes over the training text")
    group.add_argument("--batch-size", metavar="N", help="sequences per step")
    group.add_argument("--processes", metavar="N", help="processes that train together on this machine")
    group.add_argument("--learning-rate", metavar="X", help="peak learning rate")
    group.add_argument("--max-seq-length", metavar="N", help="tokens per sequence")
    group.add_argument("--vocab-size", metavar="N", help="entries in the vocabulary of the tokenizer")
    add_path(group, "--corpus-path", nargs="+", metavar="PATH", help="train on these text files; patterns work as well")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run of the pipeline."""
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="continue an unfinished run (default: ask on a terminal, elsewhere continue)",
    )
    unfinished.add_argument("--restart", dest="resume", action="store_false", help="start an unfinished run over")
    add_parameters(parser)


def whole_number(least: int, most: int = 1_000_000) -> Callable[[str], int]:
    """Return a function that reads an argument as a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or len(text) > 20 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text[:50]!r} is not a whole number of at least {least}")
        if int(text) > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most:,}, the most there can be")
        return int(text)

    return parse
