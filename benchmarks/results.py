"""Keeps the results of a benchmark in a JSON file, one entry per run, and runs what is missing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.errors import EXIT_INTERRUPTED, MinimalLlmError
from minimal_llm.common.files import read_json, write_json

Result = dict[str, Any]


class CommandFailed(Exception):
    """A command of a run ended with this exit code, after printing the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Results:
    """The results in a file, by the name of their run, and how they are shown as a Markdown table."""

    path: Path
    runs: tuple[str, ...]  # all possible runs, in the order of the table
    columns: str  # heading and alignment of the table, two lines
    row: Callable[[str, Result], str]

    def read(self) -> dict[str, Result]:
        """Return the results by run; nothing if there is no file yet."""
        return dict(read_json(self.path)) if self.path.exists() else {}

    def missing(self) -> list[str]:
        """Return the runs without a result."""
        done = self.read()
        return [run for run in self.runs if run not in done]

    def update(self, runs: Iterable[str], measure: Callable[[str], Result]) -> None:
        """Measure some runs and save each result as soon as it is known."""
        for run in runs:
            print(run, flush=True)
            result = measure(run)
            write_json(self.path, {**self.read(), run: result})
            print(self.row(run, result), flush=True)

    def show(self) -> None:
        """Print the table, and which runs have no result."""
        print(self.columns)
        done = self.read()
        for run in self.runs:
            if run in done:
                print(self.row(run, done[run]))
        print(f"not measured: {'; '.join(self.missing()) or 'nothing'}")


def parse_runs(description: str | None, results: Results) -> list[str]:
    """Return the runs that the command line asks for: those named, or with --all those without a result."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="run", help="names of runs; without any, show the table")
    parser.add_argument("--all", action="store_true", help="run everything that has no result yet")
    options = parser.parse_args()
    if unknown := [run for run in options.runs if run not in results.runs]:
        parser.error(f"unknown run {unknown[0]!r}; choose from: {'; '.join(results.runs)}")
    return options.runs or (results.missing() if options.all else [])


def exit_code(main: Callable[[], None]) -> int:
    """Run a program and return its exit code; print errors that a user can cause."""
    try:
        main()
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except CommandFailed as failure:
        return failure.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0
