"""Speed and memory of stages download and tokenizer, from 3 MB of text to 1 GB.

    export MINIMAL_LLM_BOOKS=...                    # a folder of books, laid out like a mirror of Project Gutenberg
    python benchmarks/corpus_scale.py               # show the results
    python benchmarks/corpus_scale.py 30            # measure with 30 MB of books (or several sizes)
    python benchmarks/corpus_scale.py --all         # measure what has no result, ten minutes on an idle machine

The text is the books again and again; of each copy, other words are left out. Memory is that of a stage with the
processes that it starts, whose resident memory is added up every 50 ms; memory that they share counts for each. The
seconds of CPU time, start of the programs included, depend less on what else the machine does. Results
are saved in docs/reference/corpus_scale.json. The text, twice the size, is deleted at the end.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psutil
from results import CommandFailed, Result, Results, exit_code, parse_runs

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import cpu_name
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import size_of
from minimal_llm.common.system import physical_cores

SCRATCH = Path("runs/corpus_scale")
BOOKS = "MINIMAL_LLM_BOOKS"
MARGIN = 1000  # bytes next to the markers of a book that stay as they are
COLUMNS = """\
| MB of books | cores | build MB/s | CPU s | peak MB | tokenizer training s | encode MB/s | CPU s of both | peak MB |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    """Run the command line."""
    results = Results(Path("docs/reference/corpus_scale.json"), ("3", "30", "300", "1000"), COLUMNS, _row)
    results.update(parse_runs(__doc__, results), measure)
    results.show()


def _row(name: str, r: Result) -> str:
    return (
        f"| {name} | {r['cores']} | {r['build_mb_per_s']:.1f} | {r['build_cpu_s']:.1f} | {r['build_peak_mb']:.0f} | "
        f"{r['tokenizer_training_s']:.1f} | {r['encode_mb_per_s']:.1f} | {r['tokenizer_cpu_s']:.1f} | "
        f"{r['tokenizer_peak_mb']:.0f} |"
    )


def measure(name: str) -> Result:
    """Run both stages on so many MB of books; return MB (10^6 bytes) of text per second, and peak memory in MB.

    `build` counts the bytes of the books as they are, `encode` those of the corpus.

    Raises:
        ConfigurationError: there are no books.
        CommandFailed: a stage failed.
    """
    shutil.rmtree(SCRATCH, ignore_errors=True)
    books, artifacts = SCRATCH / "books", Artifacts(SCRATCH / "data")
    try:
        size = write_books(books, int(name) * 1_000_000)
        build = run(["download", "--corpus-path", f"{books}/*.txt"], artifacts)
        tokenizer = run(["tokenizer"], artifacts)
        corpus = size_of(artifacts.corpus)
        return {
            "books_bytes": size,
            "corpus_bytes": corpus,
            "build_mb_per_s": round(size / 1e6 / build.seconds, 2),
            "build_cpu_s": round(build.cpu_seconds, 2),
            "build_peak_mb": round(build.peak_mb, 1),
            "tokenizer_training_s": round(tokenizer.before_tokens, 2),
            "encode_mb_per_s": round(corpus / 1e6 / (tokenizer.seconds - tokenizer.before_tokens), 2),
            "tokenizer_cpu_s": round(tokenizer.cpu_seconds, 2),
            "tokenizer_peak_mb": round(tokenizer.peak_mb, 1),
            "cores": physical_cores(),
            "cpu": cpu_name(),
        }
    finally:
        shutil.rmtree(SCRATCH)


def write_books(folder: Path, size: int) -> int:
    """Write copies of the books, at least `size` bytes in all; return how many."""
    folder.mkdir(parents=True)
    written = 0
    for number, text in enumerate(_copies()):
        written += (folder / f"{number:06}.txt").write_bytes(text)
        if written >= size:
            break
    return written


def _copies() -> Iterator[bytes]:
    books = [path.read_bytes() for path in sorted(Path(os.environ.get(BOOKS, "")).glob("cache/epub/*/pg*.txt"))]
    if not books:
        raise ConfigurationError(
            f"{BOOKS} names no folder of books", remedy=f"export {BOOKS}=...: see the top of {__file__}"
        )
    yield from books
    for copy in count():
        for book in books:
            first, last = book.find(b"*** START") + MARGIN, book.rfind(b"*** END") - MARGIN
            words = book[first:last].split(b" ")
            del words[copy % 40 :: 50 + copy % 37]
            yield book[:first] + b" ".join(words) + book[last:]


class Run(NamedTuple):
    """What a stage took: its time, and that until it began to write tokens; the memory of all its processes."""

    seconds: float
    before_tokens: float
    cpu_seconds: float
    peak_mb: float


def run(command: list[str], artifacts: Artifacts) -> Run:
    """Run a stage and return what it took.

    Raises:
        CommandFailed: the stage failed.
    """
    stage, *flags = command
    started, cpu_before = time.monotonic(), _cpu_seconds()
    process = psutil.Popen([sys.executable, f"stages/{stage}.py", "--data-dir", str(artifacts.root), *flags])
    peak, before_tokens = 0, 0.0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        if not before_tokens and any(artifacts.tokens.glob(".train.bin.*")):
            before_tokens = time.monotonic() - started
        time.sleep(0.05)
    if process.returncode:
        raise CommandFailed(process.returncode)
    return Run(time.monotonic() - started, before_tokens, _cpu_seconds() - cpu_before, peak / 1e6)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(exit_code(main))
