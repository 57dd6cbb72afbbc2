"""Stage download in this process, over mirrors of tests/support/mirror_server.py."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimal_llm.common import config
from minimal_llm.corpus import build, gutenberg, transfer
from minimal_llm.corpus.gutenberg import check_book
from minimal_llm.corpus.transfer import Limits
from tests.support.books import synthetic_book
from tests.support.mirror_server import (
    Answer,
    Clock,
    MirrorServer,
    mirror,
    status,
)
from tests.support.stages import run_here

RAW = synthetic_book("en", 60).raw
SPANISH = synthetic_book("es", 60).raw
PATIENT = Limits(connect=5, read=5, transfer=20, size=200_000)
HASTY = Limits(connect=0.2, read=0.2, transfer=20, size=200_000)  # for servers that fall silent
BRIEF = Limits(connect=5, read=5, transfer=0.2, size=200_000)  # for those that never end
BOUND = 20  # seconds for a run of the stage, on a busy machine
UNREACHABLE = "no mirror of Project Gutenberg can be reached"


@dataclass
class Download:
    """Runs stages/download.py for a book in each language, in this process, over an earlier corpus."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    clock: Clock

    def __post_init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Put the earlier corpus there, and forget all books."""
        shutil.rmtree(self.folder / "raw", ignore_errors=True)
        for name in ("corpus_bilingual.txt", "corpus_manifest.json"):
            (self.folder / name).write_text(f"the earlier {name}\n", encoding="utf-8")
        self.earlier = self.results()

    def results(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.glob("corpus_*"))}

    def cached(self) -> list[str]:
        """Return the names of the cached files of the English book, and of unfinished ones."""
        return [path.name for path in (self.folder / "raw").glob("*") if not path.name.startswith("pg12-")]

    def run(
        self, *mirrors: str, limits: Limits = PATIENT, fallback: bool = True, code: int = 0, cached: bool = False
    ) -> str:
        """Return what the stage prints, after checking its exit code."""
        if not cached:
            shutil.rmtree(self.folder / "raw", ignore_errors=True)
        found, printed = self.outcome(*mirrors, limits=limits, fallback=fallback)
        assert found == code, printed
        return printed

    def outcome(self, *mirrors: str, limits: Limits, fallback: bool = True) -> tuple[object, str]:
        """Return the exit code of the stage and what it prints, after checking that it ended soon."""
        self.clock.slept.clear()
        flags = "--source gutenberg --books-en 11 --books-es 12 --megabytes-per-language 0.01 --primer-megabytes 0.1 "
        flags += f"--offline-fallback {str(fallback).lower()}"
        began = time.monotonic()
        with self.monkeypatch.context() as patched:
            patched.setenv("GUTENBERG_MIRRORS", ",".join(mirrors))
            patched.setattr(gutenberg, "Limits", lambda: limits)
            patched.setattr(config, "read_params", read_params)
            patched.setattr(os, "fsync", lambda _: None)
            code = run_here("download", "--data-dir", str(self.folder), *flags.split())
        shown = self.capsys.readouterr()
        assert time.monotonic() - began < BOUND
        assert not list(self.folder.rglob("*.tmp"))
        return code, shown.out + shown.err


read_params = functools.cache(config.read_params)


@pytest.fixture(name="download")
def _download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Download:
    """Stage download over an earlier corpus; waiting takes no time."""
    clock = Clock()
    for module in (transfer, gutenberg):
        monkeypatch.setattr(module, "time", clock)
    # In place of the primer, which takes seconds to write
    monkeypatch.setattr(
        build, "primer_documents", lambda *_: [check_book(RAW, 11, "en"), check_book(SPANISH, 12, "es")]
    )
    monkeypatch.delenv("MINIMAL_LLM_RUN", raising=False)
    return Download(tmp_path, monkeypatch, capsys, clock)


@pytest.fixture(name="good")
def _good() -> Iterator[MirrorServer]:
    """A mirror that has both books."""
    with mirror({11: RAW, 12: SPANISH}) as server:
        yield server


def unavailable(retry_after: str, code: int = 429) -> Answer:
    return status(code, headers={"Retry-After": retry_after})
