"""Downloads of books over HTTP from mirrors on loopback that work; tests/campaign/test_network.py has the others."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.errors import ConfigurationError, CorpusError
from minimal_llm.common.files import sha256_of
from minimal_llm.corpus import gutenberg, transfer
from minimal_llm.corpus.gutenberg import (
    DEFAULT_MIRRORS,
    PAUSE,
    Library,
    NoMirrorReachable,
    check_book,
    mirrors_from_environment,
)
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.transfer import Limits
from tests.support.books import AUTHOR, TITLES, header, synthetic_book
from tests.support.mirror_server import (
    Clock,
    MirrorServer,
    body,
    book_path,
    cut_off,
    hang_up,
    mirror,
    redirect,
    refused_url,
    slow,
    status,
)

LIMITS = Limits(connect=1, read=0.2, size=100_000)
BOOK = synthetic_book("en", 60)
RAW = BOOK.raw
COPYRIGHTED = RAW.replace(b"This ebook is for", b"This is a COPYRIGHTED Project Gutenberg eBook. This ebook is for", 1)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    simulated = Clock()
    for module in (transfer, gutenberg):
        monkeypatch.setattr(module, "time", simulated)
    return simulated


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with mirror({11: RAW}) as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Callable[..., Library]]:
    opened: list[Library] = []

    def make(*mirrors: str, **options: Any) -> Library:
        opened.append(Library(mirrors, tmp_path / "raw", **({"limits": LIMITS} | options)))
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__(None, None, None)


Libraries = Callable[..., Library]


def rejection(library: Library, number: int = 11, language: Language = "en") -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        library.book(number, language)
    assert (caught.value.exit_code, bool(caught.value.remedy)) == (2, True)
    return caught.value


# --- successful downloads


def test_a_book_records_its_origin(server: MirrorServer, library: Libraries) -> None:
    book = library(server.url).book(11, "en")
    assert book.paragraphs == BOOK.paragraphs
    assert (book.id, book.title, book.author, book.language) == ("pg11", TITLES["en"], AUTHOR, "en")
    assert book.url == "https://www.gutenberg.org/cache/epub/11/pg11.txt"
    assert (book.encoding, book.sha256) == ("utf-8-sig", sha256_of(RAW))
    assert server.headers_seen[0]["User-Agent"].startswith("minimal-llm/")


def test_all_books_use_one_connection_without_pauses_on_loopback(
    server: MirrorServer, library: Libraries, clock: Clock
) -> None:
    server.serve(12, body(RAW))
    books = library(server.url)
    books.book(11, "en")
    books.book(12, "en")
    assert clock.slept == []
    assert server.connections == 1


def test_a_public_mirror_gets_a_pause_between_two_downloads(
    server: MirrorServer, library: Libraries, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gutenberg, "is_loopback", lambda _: False)
    server.serve(12, body(RAW))
    books = library(server.url)
    books.book(11, "en")
    assert clock.slept == []
    books.book(12, "en")
    assert clock.slept == [pytest.approx(PAUSE, abs=0.5)]


def test_a_compressed_body_is_read(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, body(gzip.compress(RAW), encoding="gzip"))
    assert library(server.url).book(11, "en").sha256 == sha256_of(RAW)


def test_a_body_without_content_length_is_read(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, cut_off(RAW, len(RAW)))
    assert library(server.url).book(11, "en").paragraphs == BOOK.paragraphs


def test_a_slow_mirror_is_tolerated(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, slow(RAW, pieces=4, pause=0.02))
    assert library(server.url).book(11, "en").paragraphs == BOOK.paragraphs


def test_a_redirect_to_another_host_is_followed(server: MirrorServer, library: Libraries) -> None:
    with mirror() as other:
        other.serve(11, redirect(f"{server.url}{book_path(11)}"))
        assert library(other.url).book(11, "en").paragraphs == BOOK.paragraphs


# --- failures


def test_each_pause_is_twice_as_long_and_announced(
    server: MirrorServer, library: Libraries, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    server.serve(11, status(503))
    rejection(library(server.url, limits=Limits(tries=4, backoff=0.5)))
    assert clock.slept == [0.5, 1, 2]
    assert len(server.requests) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"{server.url}{book_path(11)}: HTTP 503; retrying in {pause} s" for pause in ("0.5", "1", "2")
    ]


def test_the_client_really_sleeps(
    server: MirrorServer, library: Libraries, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "time", time)
    server.serve(11, status(503), body(RAW))
    began = time.monotonic()
    library(server.url, limits=Limits(backoff=0.05)).book(11, "en")
    assert time.monotonic() - began > 0.05
    assert clock.slept == []


def test_the_kind_distinguishes_bad_files_from_bad_connections(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, body(COPYRIGHTED))
    server.serve(12, status(500))
    assert rejection(library(server.url), 11).kind == "validation_failure"
    assert rejection(library(server.url), 12).kind == "network"


def test_a_mirror_that_fails_later_does_not_count_as_unreachable(server: MirrorServer, library: Libraries) -> None:
    server.serve(12, hang_up())
    books = library(server.url)
    books.book(11, "en")
    error = rejection(books, 12)
    assert not isinstance(error, NoMirrorReachable)
    assert error.kind == "network"


# --- the cache


def test_a_cached_book_is_not_downloaded_again(server: MirrorServer, library: Libraries, tmp_path: Path) -> None:
    first = library(server.url).book(11, "en")
    assert [path.read_bytes() for path in (tmp_path / "raw").iterdir()] == [RAW]
    assert library(refused_url()).book(11, "en") == first
    assert len(server.requests) == 1


def test_a_new_version_of_a_book_replaces_the_old_one(server: MirrorServer, library: Libraries, tmp_path: Path) -> None:
    library(server.url).book(11, "en")
    server.serve(11, body(synthetic_book("es", 60).raw))
    book = library(server.url).book(11, "es")  # now listed under the other language, so the cached file is rejected
    assert [sha256_of(path.read_bytes()) for path in (tmp_path / "raw").iterdir()] == [book.sha256]


# --- checks that need no network


def test_the_language_in_the_header_is_ignored() -> None:
    spanish = synthetic_book("es", 60).text
    assert "Language: English" in spanish
    assert check_book(spanish.encode(), 1, "es").language == "es"


def test_a_book_without_header_is_named_by_its_number() -> None:
    book = check_book(synthetic_book("en", 60, "footer_only").raw, 7, "en")
    assert (book.title, book.author) == ("Project Gutenberg 7", "")


def test_all_authors_are_named() -> None:
    text = BOOK.text.replace(header(TITLES["en"]), header("Lamps", "Ada Nadie\n        Beto Nadie"))
    assert check_book(text.encode(), 7, "en").author == "Ada Nadie, Beto Nadie"


def test_mirrors_come_from_the_environment_or_default() -> None:
    assert mirrors_from_environment({}) == mirrors_from_environment({"GUTENBERG_MIRRORS": " , "}) == DEFAULT_MIRRORS
    given = {"GUTENBERG_MIRRORS": "http://127.0.0.1:8765/, https://a.example/gutenberg ,http://[::1]:80"}
    assert mirrors_from_environment(given) == (
        "http://127.0.0.1:8765",
        "https://a.example/gutenberg",
        "http://[::1]:80",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "mirror.example",
        "ftp://mirror.example",
        "https://",
        "http://x:port",
        "http://x:0",
        "http://[::1",
        "https://x/?q=1",
        "https://x/#top",
        "https://name:secret@x",
        "https://a b",
        "file:///books",
    ],
)
def test_a_malformed_mirror_is_a_configuration_error_that_names_it(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mirrors_from_environment({"GUTENBERG_MIRRORS": f"https://good.example,{wrong}"})
    assert f"'{wrong}'" in caught.value.message
    assert "GUTENBERG_MIRRORS" in caught.value.remedy
