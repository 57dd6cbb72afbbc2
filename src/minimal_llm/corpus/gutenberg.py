"""Project Gutenberg books, from a mirror or the cache; only files that are complete books are accepted."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit

from minimal_llm.common.errors import ConfigurationError, CorpusError, Kind
from minimal_llm.common.files import sha256_of, write_bytes
from minimal_llm.corpus.boilerplate import has_end, read_header
from minimal_llm.corpus.charset import decode
from minimal_llm.corpus.cleaning import clean_book
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.language_detection import weigh_words
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.transfer import Limits, Transfer, TransferFailed, is_loopback

DEFAULT_MIRRORS = ("https://www.gutenberg.org", "https://gutenberg.pglaf.org", "https://aleph.gutenberg.org")
MIRRORS_VARIABLE = "GUTENBERG_MIRRORS"
PAUSE = 2.0  # seconds between two downloads, to keep the load on the mirrors low

_MIN_CHARACTERS = 2000  # of cleaned text; even the shortest stories have more
_HTML = re.compile(r"\s*(?:<\?xml|<!doctype|<html|<head|<body)", re.I)
_NUMBER = re.compile(r"\[\s*e-?(?:book|text)\s*#\s*(\d+)", re.I)  # in the header, which says [eBook #11]
_HEADER = 5000  # characters
_COPYRIGHTED = re.compile(
    r"\b(?:is\s+a|START\s+OF\s+(?:THE|THIS))\s+copyrighted\s+project\s+gutenberg|SMALL PRINT![*\s\w.]*FOR COPYRIGHT",
    re.I,
)


class NoMirrorReachable(CorpusError):
    """No mirror sent any response, so there is no network connection. Any response, even an error, is not this."""

    default_kind: ClassVar[Kind] = "network"


def mirrors_from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the comma-separated base URLs in GUTENBERG_MIRRORS, or the default mirrors if it is empty.

    Raises:
        ConfigurationError: one of them is not the base URL of a web server.
    """
    given = [part.strip() for part in environment.get(MIRRORS_VARIABLE, "").split(",")]
    return tuple(_base_url(part) for part in given if part) or DEFAULT_MIRRORS


def book_url(base: str, number: int) -> str:
    """Return the URL of a book's plain text on the mirror with this base URL."""
    return f"{base}/cache/epub/{number}/pg{number}.txt"


def check_book(raw: bytes, number: int, language: Language) -> Document:
    """Return the cleaned book in the bytes of a Project Gutenberg file.

    Raises:
        CorpusError: not a book, incomplete, copyrighted, or not in `language`. The message is only the reason.
    """
    if not raw.strip():
        raise _rejected("an empty file")
    text, encoding = decode(raw)
    if _HTML.match(text):
        raise _rejected("an HTML page instead of plain text")
    if _COPYRIGHTED.search(text):
        raise _rejected("a copyrighted text, not in the public domain")
    if (named := _NUMBER.search(text, 0, _HEADER)) and int(named[1]) != number:
        raise _rejected(f"the text of another book, number {named[1]}")
    if not has_end(text):
        raise _rejected("truncated: the END marker of Project Gutenberg is missing")
    paragraphs = tuple(clean_book(text))
    characters = sum(map(len, paragraphs))
    if characters < _MIN_CHARACTERS:
        raise _rejected(f"not a book: only {characters} characters of text (minimum: {_MIN_CHARACTERS})")
    _check_language(" ".join(paragraphs), language)
    header = read_header(text)
    return Document(
        id=f"pg{number}",
        title=header.title or f"Project Gutenberg {number}",
        author=", ".join(header.authors),
        language=language,
        url=book_url(DEFAULT_MIRRORS[0], number),
        sha256=sha256_of(raw),
        encoding=encoding,
        paragraphs=paragraphs,
    )


def cached_book(cache: Path, number: int, language: Language) -> Document | None:
    """Return a book that an earlier run has downloaded, if it is intact and accepted. Changes nothing on disk."""
    for path in sorted(cache.glob(f"pg{number}-*.txt")):
        raw = path.read_bytes()
        if path.stem == f"pg{number}-{sha256_of(raw)}":
            with suppress(CorpusError):
                return check_book(raw, number, language)
    return None


class Library:
    """Fetches books by number: from the cache of accepted raw files, or else from the mirrors, in order."""

    def __init__(
        self, mirrors: Sequence[str], cache: Path, *, limits: Limits | None = None, pause: float = PAUSE
    ) -> None:
        self._mirrors = tuple(mirrors)
        self._cache = cache
        self._transfer = Transfer(limits or Limits())
        self._pause = pause
        self._last_transfer: float | None = None
        self._given_up: dict[str, str] = {}  # base URL: why it is not asked again
        self._answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transfer.__exit__(kind, error, trace)

    def book(self, number: int, language: Language) -> Document:
        """Return a book and cache its raw file.

        Raises:
            NoMirrorReachable: no mirror has sent any response since this library was opened.
            CorpusError: no mirror delivered the book; the message lists each URL with the reason.
        """
        if cached := self._from_cache(number, language):
            return cached
        failures: list[str] = []
        rejected = False
        for base in self._mirrors:
            url = book_url(base, number)
            try:
                raw = self._download(base, url, f"book {number} ({language})")
                document = check_book(raw, number, language)
            except TransferFailed as failure:
                failures.append(f"{url}: {failure.reason}")
            except CorpusError as error:
                failures.append(f"{url}: {error.message}")
                rejected = True
            else:
                self._keep(number, raw)
                return document
        raise self._failure(number, language, failures, rejected)

    def _download(self, base: str, url: str, label: str) -> bytes:
        if base in self._given_up:
            raise TransferFailed(self._given_up[base], answered=False)
        if self._last_transfer is not None and not is_loopback(url):
            time.sleep(max(0.0, self._last_transfer + self._pause - time.monotonic()))
        try:
            raw = self._transfer.get(url, label)
        except TransferFailed as failure:
            self._answered |= failure.answered
            if failure.busy or not failure.answered:
                self._given_up[base] = failure.reason  # do not wait for it again with every book
            raise
        finally:
            self._last_transfer = time.monotonic()
        self._answered = True
        return raw

    def _failure(self, number: int, language: Language, failures: list[str], rejected: bool) -> CorpusError:
        listed = "".join(f"\n  {failure}" for failure in failures)
        if not self._answered:
            return NoMirrorReachable(
                f"no mirror of Project Gutenberg can be reached:{listed}",
                remedy="check your network connection, set GUTENBERG_MIRRORS=https://... to a mirror you can reach, or "
                "train on the embedded primer: dvc exp run -S download.source=primer",
            )
        return CorpusError(
            f"no mirror delivered book {number} ({language}):{listed}",
            remedy=f"check the number in params.yaml (download.books.{language}), try again later, or set another "
            "mirror: GUTENBERG_MIRRORS=https://...",
            kind="validation_failure" if rejected else "network",
        )

    def _from_cache(self, number: int, language: Language) -> Document | None:
        for path in sorted(self._cache.glob(f"pg{number}-*.txt")):
            raw = path.read_bytes()
            if path != self._cache_path(number, raw):
                print(f"{path} is damaged; downloading it again", file=sys.stderr, flush=True)
                path.unlink()
                continue
            try:
                return check_book(raw, number, language)
            except CorpusError:  # cached for the other language, or by older rules: ask the mirrors
                continue
        return None

    def _keep(self, number: int, raw: bytes) -> None:
        path = self._cache_path(number, raw)
        write_bytes(path, raw)
        for older in set(self._cache.glob(f"pg{number}-*.txt")) - {path}:
            older.unlink()

    def _cache_path(self, number: int, raw: bytes) -> Path:
        return self._cache / f"pg{number}-{sha256_of(raw)}.txt"


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or re.search(r"\s", text):
        raise ConfigurationError(
            f"{MIRRORS_VARIABLE} contains '{text}', which is not the base URL of a mirror",
            remedy=f"export {MIRRORS_VARIABLE}=https://www.gutenberg.org,http://localhost:8765 (or unset it)",
        )
    return text.rstrip("/")


def _check_language(text: str, language: Language) -> None:
    found = weigh_words(text)
    if found.language != language:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in found.shares.items())
        raise _rejected(f"not in the language '{language}' it is listed under (function words: {shares})")


def _rejected(reason: str) -> CorpusError:
    return CorpusError(reason, remedy="remove the book from download.books in params.yaml")
