"""Downloads of books over HTTP from mirrors on loopback, with every kind of failure. Waiting is simulated."""

from __future__ import annotations

import gzip
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests

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
from minimal_llm.corpus.transfer import Limits, SafeSession
from tests.support.books import AUTHOR, TITLES, header, synthetic_book
from tests.support.mirror_server import (
    NOT_FOUND_PAGE,
    Answer,
    MirrorServer,
    body,
    book_path,
    closed_at_once,
    cut_off,
    endless,
    hang,
    hang_up,
    mirror,
    redirect,
    refused_url,
    slow,
    status,
    truncated,
)

LIMITS = Limits(connect=1, read=0.2, size=100_000)
BOOK = synthetic_book("en", 60)
RAW = BOOK.raw
COPYRIGHTED = RAW.replace(b"This ebook is for", b"This is a COPYRIGHTED Project Gutenberg eBook. This ebook is for", 1)
SMALL = synthetic_book("en", 3).raw


class Clock:
    """Replaces the module `time` for the client: sleeping takes no time, and is recorded."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


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


@pytest.mark.parametrize("target", ["http://mirror.example/x", "HTTP://mirror.example/x"])
def test_a_redirect_from_https_to_http_is_refused(target: str) -> None:
    response = requests.Response()
    response.status_code, response.url = 302, "https://mirror.example/book"
    response.headers["Location"] = target
    with SafeSession() as session:
        with pytest.raises(requests.exceptions.InvalidURL, match="from https"):
            session.get_redirect_target(response)
        for safe in ("https://other.example/x", "/x", "//other.example/x"):
            response.headers["Location"] = safe
            assert session.get_redirect_target(response) == safe


def test_loopback_ignores_the_proxy_of_the_environment(
    server: MirrorServer, library: Libraries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, refused_url())
    monkeypatch.delenv("no_proxy", raising=False)
    assert library(server.url).book(11, "en").paragraphs == BOOK.paragraphs


# --- transient failures: three tries in all


@pytest.mark.parametrize(
    "first",
    [*map(status, (503, 500, 502, 504, 429)), hang(), hang_up(), truncated(RAW, 1000), hang(RAW[:1000])],
    ids=["503", "500", "502", "504", "429", "hang", "hang up", "truncated", "hang in body"],
)
def test_a_transient_failure_is_retried(first: Answer, server: MirrorServer, library: Libraries) -> None:
    server.serve(11, first, first, body(RAW))
    assert library(server.url).book(11, "en").paragraphs == BOOK.paragraphs
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("always", "reason"),
    [
        (status(503), "HTTP 503"),
        (hang(RAW[:1000]), "connection lost after 1000 bytes"),
        (truncated(RAW, 1000), f"truncated: received 1000 of {len(RAW)} bytes|connection lost after 1000 bytes"),
    ],
    ids=["503", "hang in body", "truncated"],
)
def test_after_three_tries_the_next_mirror_is_used(
    always: Answer, reason: str, server: MirrorServer, library: Libraries
) -> None:
    with mirror() as broken:
        broken.serve(11, always)
        assert library(broken.url, server.url).book(11, "en").paragraphs == BOOK.paragraphs
        assert (len(broken.requests), len(server.requests)) == (3, 1)
        broken.serve(12, always)
        error = rejection(library(broken.url, server.url), 12)
        assert error.kind == "network"
        first, second = error.message.splitlines()[1:]
        assert re.fullmatch(rf"  {broken.url}{book_path(12)}: ({reason}).*", first)
        assert second == f"  {server.url}{book_path(12)}: HTTP 404"


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


@pytest.mark.parametrize("wait", ["30", lambda: formatdate(time.time() + 30, usegmt=True)], ids=["seconds", "date"])
def test_retry_after_is_honored(wait: Any, server: MirrorServer, library: Libraries, clock: Clock) -> None:
    server.serve(11, status(429, headers={"Retry-After": wait() if callable(wait) else wait}), body(RAW))
    library(server.url).book(11, "en")
    assert clock.slept == [pytest.approx(30, abs=2)]


def test_a_mirror_that_asks_for_a_long_wait_is_given_up(server: MirrorServer, library: Libraries, clock: Clock) -> None:
    with mirror() as busy:
        busy.serve(11, status(503, headers={"Retry-After": "3600"}))
        library(busy.url, server.url).book(11, "en")
        assert (len(busy.requests), clock.slept) == (1, [])
        busy.serve(12, status(503, headers={"Retry-After": "3600"}))
        assert "HTTP 503, Retry-After: 3600 s is too long" in rejection(library(busy.url), 12).message


def test_an_unreadable_retry_after_is_ignored(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, status(503, headers={"Retry-After": "soon"}), body(RAW))
    assert library(server.url).book(11, "en").paragraphs == BOOK.paragraphs


# --- bad responses: an error with book, URL and reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404, NOT_FOUND_PAGE), "HTTP 404"),
        (status(403), "HTTP 403"),
        (body(NOT_FOUND_PAGE, "text/html"), "an HTML page"),
        (body(b"\xef\xbb\xbf\r\n <html>"), "an HTML page"),
        (body(b""), "an empty file"),
        (body(b" \n\n"), "an empty file"),
        (body(b"\x00\x01binary"), "binary"),
        (cut_off(RAW, len(RAW) // 2), "END marker"),
        (body(SMALL), "not a book"),
        (body(COPYRIGHTED), "copyrighted"),
        (body(synthetic_book("es", 60).raw), "not in the language 'en'"),
        (body(synthetic_book("fr", 60).raw), "not in the language 'en'"),
        (body(RAW * 20), f"too large: {20 * len(RAW)} bytes"),
        (endless(), "too large: more than 100000 bytes"),
        (slow(RAW, pieces=1000, pause=0.02), "not finished within"),
        (body(b"no gzip", encoding="gzip"), "connection lost|invalid response"),
        (redirect("ftp://mirror.example/x"), "invalid response"),
        (redirect(book_path(11)), "invalid response"),
    ],
    ids=[
        "404",
        "403",
        "html",
        "html with mark",
        "empty",
        "blank",
        "binary",
        "cut",
        "small",
        "copyrighted",
        "spanish",
        "french",
        "large",
        "endless",
        "trickle",
        "bad gzip",
        "ftp",
        "loop",
    ],
)
def test_a_bad_response_is_reported_with_book_url_and_reason_and_not_cached(
    answer: Answer, reason: str, server: MirrorServer, library: Libraries, tmp_path: Path
) -> None:
    server.serve(11, answer)
    error = rejection(library(server.url, limits=replace(LIMITS, transfer=0.3)))
    assert not isinstance(error, NoMirrorReachable)
    assert "book 11 (en)" in error.message
    assert f"{server.url}{book_path(11)}: " in error.message
    assert re.search(reason, error.message)
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.parametrize(
    "answer", [status(404), body(b""), body(NOT_FOUND_PAGE), body(COPYRIGHTED)], ids=["404", "empty", "html", "(c)"]
)
def test_after_a_bad_response_the_next_mirror_is_used_at_once(
    answer: Answer, server: MirrorServer, library: Libraries
) -> None:
    with mirror() as wrong:
        wrong.serve(11, answer)
        assert library(wrong.url, server.url).book(11, "en").paragraphs == BOOK.paragraphs
        assert len(wrong.requests) == 1


def test_the_kind_distinguishes_bad_files_from_bad_connections(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, body(COPYRIGHTED))
    server.serve(12, status(500))
    assert rejection(library(server.url), 11).kind == "validation_failure"
    assert rejection(library(server.url), 12).kind == "network"


# --- no network


@pytest.mark.parametrize("answer", [hang(), hang_up()], ids=["hang", "hang up"])
def test_a_silent_mirror_counts_as_unreachable(answer: Answer, server: MirrorServer, library: Libraries) -> None:
    server.serve(11, answer)
    assert isinstance(rejection(library(server.url)), NoMirrorReachable)


def test_no_mirror_reachable_names_every_mirror(library: Libraries) -> None:
    mirrors = [refused_url(), refused_url().replace("http:", "https:")]
    error = rejection(library(*mirrors))
    assert isinstance(error, NoMirrorReachable)
    assert error.kind == "network"
    for base in mirrors:
        assert f"{base}{book_path(11)}: connection failed: Failed to establish a new connection" in error.message
    assert error.message.count("refused") == 2


def test_a_failed_name_lookup_counts_as_unreachable(library: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_resolver(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_resolver)
    error = rejection(library("https://mirror.example"))
    assert isinstance(error, NoMirrorReachable)
    assert "Temporary failure in name resolution" in error.message


def test_a_dead_proxy_counts_as_unreachable(library: Libraries, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, refused_url())
    error = rejection(library("https://mirror.example"))
    assert isinstance(error, NoMirrorReachable)
    assert "proxy error" in error.message


def test_one_bad_response_among_silent_mirrors_is_a_response(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, status(404))
    error = rejection(library(refused_url(), server.url, refused_url()))
    assert not isinstance(error, NoMirrorReachable)
    assert error.message.count(book_path(11)) == 3


def test_a_redirect_to_a_dead_host_is_a_response(server: MirrorServer, library: Libraries) -> None:
    server.serve(11, redirect(f"{refused_url()}/x"))
    assert not isinstance(rejection(library(server.url)), NoMirrorReachable)


def test_a_server_without_tls_under_https_is_a_response(server: MirrorServer, library: Libraries) -> None:
    error = rejection(library(server.url.replace("http:", "https:")))
    assert not isinstance(error, NoMirrorReachable)
    assert "TLS error" in error.message


def test_a_connection_closed_before_tls_counts_as_unreachable(library: Libraries) -> None:
    with closed_at_once() as base:
        assert isinstance(rejection(library(base.replace("http:", "https:"))), NoMirrorReachable)


def test_a_mirror_that_fails_later_does_not_count_as_unreachable(server: MirrorServer, library: Libraries) -> None:
    server.serve(12, hang_up())
    books = library(server.url)
    books.book(11, "en")
    error = rejection(books, 12)
    assert not isinstance(error, NoMirrorReachable)
    assert error.kind == "network"


def test_a_silent_mirror_is_asked_for_one_book_only(server: MirrorServer, library: Libraries) -> None:
    with mirror() as silent:
        for number in (11, 12):
            silent.serve(number, hang_up())
        server.serve(12, body(RAW))
        books = library(silent.url, server.url)
        books.book(11, "en")
        books.book(12, "en")
        assert silent.requests == [book_path(11)] * 3


# --- the cache


def test_a_cached_book_is_not_downloaded_again(server: MirrorServer, library: Libraries, tmp_path: Path) -> None:
    first = library(server.url).book(11, "en")
    assert [path.read_bytes() for path in (tmp_path / "raw").iterdir()] == [RAW]
    assert library(refused_url()).book(11, "en") == first
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", [b"", RAW[:-500], RAW.replace(b"the", b"teh", 1)], ids=["empty", "cut", "changed"])
def test_a_damaged_cache_file_is_downloaded_again(
    damage: bytes, server: MirrorServer, library: Libraries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = library(server.url).book(11, "en")
    [kept] = (tmp_path / "raw").iterdir()
    kept.write_bytes(damage)
    assert library(server.url).book(11, "en") == first
    assert kept.read_bytes() == RAW
    assert "damaged" in capsys.readouterr().err


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
