"""What a mirror can do to stage download: what is asked again, what a user is told, and that earlier results stay."""

from __future__ import annotations

import datetime
import functools
import gzip
import ipaddress
import math
import os
import re
import runpy
import shutil
import signal
import socket
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from minimal_llm.common import config
from minimal_llm.corpus import build, gutenberg, transfer
from minimal_llm.corpus.gutenberg import check_book
from minimal_llm.corpus.transfer import Limits, TransferFailed, redirected, retry_after
from tests.support.books import TITLES, synthetic_book
from tests.support.campaign import Count
from tests.support.mirror_server import (
    NOT_FOUND_PAGE,
    Answer,
    Clock,
    MirrorServer,
    body,
    book_path,
    closed_at_once,
    cut_off,
    endless,
    full_queue,
    hang,
    hang_up,
    head,
    mirror,
    redirect,
    refused_url,
    status,
    truncated,
    verbatim,
)
from tests.support.stages import ROOT

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
        """Return what the stage prints, after checking its exit code and that it ended soon."""
        self.clock.slept.clear()
        if not cached:
            shutil.rmtree(self.folder / "raw", ignore_errors=True)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        flags = "--source gutenberg --books-en 11 --books-es 12 --megabytes-per-language 0.01 --primer-megabytes 0.1 "
        flags += f"--offline-fallback {str(fallback).lower()}"
        began = time.monotonic()
        try:
            with self.monkeypatch.context() as patched:
                patched.chdir(ROOT)
                patched.setenv("GUTENBERG_MIRRORS", ",".join(mirrors))
                patched.setattr(gutenberg, "Limits", lambda: limits)
                patched.setattr(config, "read_params", read_params)
                patched.setattr(os, "fsync", lambda _: None)
                patched.setattr(sys, "argv", ["download.py", "--data-dir", str(self.folder), *flags.split()])
                patched.setattr(sys, "stderr", sys.stderr)
                with pytest.raises(SystemExit) as ended:
                    runpy.run_path("stages/download.py", run_name="__main__")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        shown = self.capsys.readouterr()
        assert ended.value.code == code, shown.err
        assert time.monotonic() - began < BOUND
        assert not list(self.folder.rglob("*.tmp"))
        return shown.out + shown.err


read_params = functools.cache(config.read_params)


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Download:
    clock = Clock()
    for module in (transfer, gutenberg):
        monkeypatch.setattr(module, "time", clock)
    # In place of the primer, which takes seconds to write
    monkeypatch.setattr(
        build, "primer_documents", lambda *_: [check_book(RAW, 11, "en"), check_book(SPANISH, 12, "es")]
    )
    monkeypatch.delenv("MINIMAL_LLM_RUN", raising=False)
    return Download(tmp_path, monkeypatch, capsys, clock)


@pytest.fixture
def good() -> Iterator[MirrorServer]:
    with mirror({11: RAW, 12: SPANISH}) as server:
        yield server


def chunked(text: bytes) -> Answer:
    return verbatim(head("Transfer-Encoding: chunked") + text)


def unavailable(retry_after: str, code: int = 429) -> Answer:
    return status(code, headers={"Retry-After": retry_after})


def in_future(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


def bomb(times: int) -> Answer:
    content = bytes(40_000_000)
    for _ in range(times):
        content = gzip.compress(content, compresslevel=1)
    return body(content, encoding=", ".join(["gzip"] * times))


@dataclass(frozen=True)
class Wrong:
    """An answer that is no book, what a user is told, and how often the mirror is asked for it."""

    answer: Answer
    told: str
    asked: int = 1
    waits: tuple[float, ...] | None = None  # between the tries, in seconds
    limits: Limits = PATIENT


BACKOFF = (1.0, 2.0)
WRONG = {
    "404": Wrong(status(404, NOT_FOUND_PAGE), "HTTP 404"),
    "403": Wrong(status(403), "HTTP 403"),
    "500, always": Wrong(status(500), "HTTP 500", 3, BACKOFF),
    "503, always": Wrong(status(503), "HTTP 503", 3, BACKOFF),
    "429 without Retry-After": Wrong(status(429), "HTTP 429", 3, BACKOFF),
    "429, Retry-After in seconds": Wrong(unavailable("30"), "HTTP 429", 3, (30, 30)),
    "429, Retry-After as a date": Wrong(lambda handler: unavailable(in_future(30))(handler), "HTTP 429", 3, (30, 30)),
    "429, Retry-After: 0": Wrong(unavailable("0"), "HTTP 429", 3, BACKOFF),
    "429, Retry-After in the past": Wrong(unavailable(in_future(-1000)), "HTTP 429", 3, BACKOFF),
    "429, negative Retry-After": Wrong(unavailable("-30"), "HTTP 429", 3, BACKOFF),
    "429, Retry-After that is no number": Wrong(unavailable("soon"), "HTTP 429", 3, BACKOFF),
    "429, Retry-After of 5,000 digits": Wrong(unavailable("9" * 5000), "HTTP 429", 3, BACKOFF),
    "429, Retry-After in the year 9,999,999": Wrong(
        unavailable("Fri, 31 Dec 9999999 23:59:59 GMT"), "HTTP 429", 3, BACKOFF
    ),
    "429, Retry-After: an hour": Wrong(unavailable("3600"), "HTTP 429, Retry-After: 3600 s is too long to wait"),
    "429, Retry-After: ten years": Wrong(unavailable("315360000"), "Retry-After: 315360000 s is too long to wait"),
    "503, Retry-After: a date in ten years": Wrong(
        lambda handler: unavailable(in_future(315_360_000), 503)(handler), r"Retry-After: 31\d{7} s is too long to wait"
    ),
    "connection reset in mid-body": Wrong(
        verbatim(head(f"Content-Length: {len(RAW)}") + RAW[:1000], reset=True), "connection lost after .*reset", 3
    ),
    "short body with Content-Length": Wrong(truncated(RAW, 1000), "connection lost after 1000 bytes", 3, BACKOFF),
    "short body without Content-Length": Wrong(cut_off(RAW, len(RAW) // 2), "truncated: the END marker"),
    "silence in mid-body (read time-out)": Wrong(
        hang(RAW[:1000]), "connection lost after 1000 bytes.*timed out", 3, BACKOFF, HASTY
    ),
    "a chunk cut short": Wrong(chunked(b"400\r\n" + RAW[:100]), "connection lost after 100 bytes", 3),
    "chunks without a size": Wrong(chunked(b"no size\r\n" + RAW), "connection lost after 0 bytes", 3),
    "trailers after the chunks, for ever": Wrong(
        verbatim(head("Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n", b"A: b\r\n", 0.01),
        "not finished within 0.2 s",
        limits=BRIEF,
    ),
    "a byte now and then (slow drip)": Wrong(
        verbatim(head(f"Content-Length: {len(RAW)}"), b"x", 0.03), "not finished within 0.2 s", limits=BRIEF
    ),
    "compressed nothing, for ever": Wrong(
        verbatim(head("Content-Encoding: gzip") + gzip.compress(b"")[:10], b"\0\0\0\xff\xff" * 100, 0.01),
        "not finished within 0.2 s",
        limits=BRIEF,
    ),
    "endless body": Wrong(endless(), "too large: more than 200000 bytes"),
    "body announced as too large": Wrong(body(RAW * 40), f"too large: {40 * len(RAW)} bytes"),
    "gzip bomb": Wrong(bomb(1), "too large: more than 200000 bytes"),
    "gzip bomb in a gzip bomb": Wrong(bomb(2), "too large: more than 200000 bytes"),
    "no gzip behind Content-Encoding: gzip": Wrong(
        body(b"no gzip", encoding="gzip"), "connection lost after 0 bytes: .*decompress", 3
    ),
    "two different Content-Lengths": Wrong(
        verbatim(head("Content-Length: 10", "Content-Length: 20") + RAW), "invalid response: Content-Length"
    ),
    "no HTTP": Wrong(verbatim(b"SSH-2.0-OpenSSH_9.9\r\n" * 3), "invalid response: .*SSH-2.0-OpenSSH"),
    "10,000 headers": Wrong(verbatim(head(*["A: b"] * 10_000)), "invalid response: got more than 100 headers"),
    "a header of a megabyte": Wrong(verbatim(head("A: " + "b" * 1_000_000)), "invalid response: got more than 65536"),
    "redirect loop": Wrong(redirect(book_path(11)), "more than 5 redirects", 6),
    "redirect to ftp:": Wrong(redirect("ftp://mirror.example/x"), "redirects to ftp://mirror.example/x"),
    "redirect to file:": Wrong(redirect("file:///etc/passwd"), "redirects to file:///etc/passwd"),
    "redirect to data:": Wrong(redirect("data:text/plain,x"), "redirects to data:"),
    "redirect to no address": Wrong(redirect("http://[::1"), r"redirects to http://\[::1"),
    "redirect to no text": Wrong(redirect("/\xff\xfe"), "invalid response: 'utf-8'"),
    "redirect with control characters": Wrong(redirect("ftp://\x1b[2J\x07x"), r"redirects to ftp://.*\[2J"),
    "redirect to nobody": Wrong(redirect(f"{refused_url()}/x"), "refused", 3),
    "a login page with 200 (captive portal)": Wrong(body(NOT_FOUND_PAGE, "text/html"), "an HTML page"),
    "an empty answer with 200": Wrong(body(b""), "an empty file"),
    "HTML behind a byte order mark": Wrong(body(b"\xef\xbb\xbf\r\n <html>"), "an HTML page"),
    "blank lines with 200": Wrong(body(b" \n\n"), "an empty file"),
    "binary data": Wrong(body(b"\x00\x01binary"), "binary"),
    "UTF-16": Wrong(body(RAW.decode("utf-8-sig").encode("utf-16")), "UTF-16"),
    "damaged UTF-8": Wrong(body(SPANISH.replace("ó".encode(), b"\xc3", 1)), "damaged UTF-8"),
    "too little text": Wrong(body(synthetic_book("en", 3).raw), "not a book: only"),
    "a copyrighted text": Wrong(
        body(RAW.replace(b"This ebook is for", b"This is a COPYRIGHTED Project Gutenberg eBook, for", 1)), "copyrighted"
    ),
    "another book's text": Wrong(
        body(RAW.replace(b"June 1, 2008", b"June 1, 2008 [eBook #1342]", 1)), "the text of another book, number 1342"
    ),
    "a book in Spanish listed as English": Wrong(body(SPANISH), "not in the language 'en'"),
    "a book in French": Wrong(body(synthetic_book("fr", 60).raw), "not in the language 'en'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_an_error_and_another_mirror_is_asked(
    name: str, download: Download, good: MirrorServer, count: Count
) -> None:
    wrong = WRONG[name]
    with mirror({12: SPANISH}) as server:
        server.serve(11, wrong.answer)
        printed = download.run(server.url, limits=wrong.limits, code=2)
        assert "no mirror delivered book 11 (en):" in printed
        assert re.search(rf"^  {server.url}{book_path(11)}: .*{wrong.told}", printed, re.M), printed
        assert "What to do: " in printed
        assert "GUTENBERG_MIRRORS=" in printed
        assert "Traceback" not in printed
        assert "\x1b" not in printed
        assert max(map(len, printed.splitlines())) < 600
        assert server.requests == [book_path(11)] * wrong.asked
        assert wrong.waits is None or download.clock.slept == pytest.approx(list(wrong.waits), abs=2)
        assert download.results() == download.earlier
        assert download.cached() == []

        if wrong.limits is PATIENT:  # else the good mirror might be too slow as well, on a busy machine
            assert "corpus: gutenberg, 2 documents" in download.run(server.url, good.url)
            assert TITLES["en"].encode() in download.results()["corpus_bilingual.txt"]
            assert len(download.cached()) == 1
    rounds = 2 if wrong.limits is PATIENT else 1
    tries = {1: "asked once", 3: "asked three times"}.get(wrong.asked, f"{wrong.asked} requests")
    count("Network", name, f"{tries}, then the next mirror; if none has it: exit 2 with URL, book and reason", rounds)


def test_ever_more_bytes_take_no_more_memory(download: Download, good: MirrorServer, count: Count) -> None:
    faults = {"endless": endless(), "redirect": endless(head("Location: /x", status="302 Found")), "bomb": bomb(2)}
    for answer in faults.values():
        with mirror() as server:
            server.serve(11, answer)
            tracemalloc.start()
            download.run(server.url, good.url)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 30_000_000
    count("Network", "endless bodies and gzip bombs, memory measured", "below 30 MB", len(faults))


# --- faults that end well


ONCE_WRONG = {
    **{str(code): status(code) for code in (429, 500, 502, 503, 504)},
    "silence": hang(),
    "a closed connection": hang_up(),
    "half a body": truncated(RAW, 1000),
}


def test_what_fails_twice_is_asked_a_third_time(download: Download, count: Count) -> None:
    for first in ONCE_WRONG.values():
        with mirror({12: SPANISH}) as server:
            server.serve(11, first, first, body(RAW))
            assert "corpus: gutenberg" in download.run(
                server.url, limits=HASTY if first is ONCE_WRONG["silence"] else PATIENT
            )
            assert server.requests == [book_path(11)] * 3 + [book_path(12)]
    count("Network", "an error that passes: " + ", ".join(ONCE_WRONG), "the book, at the third try", len(ONCE_WRONG))


ODD = {
    "Content-Length of 5,000 digits": verbatim(head(f"Content-Length: {'9' * 5000}") + RAW),
    "negative Content-Length": verbatim(head("Content-Length: -1") + RAW),
    "Content-Length and chunks": verbatim(
        head("Content-Length: 7", "Transfer-Encoding: chunked") + f"{len(RAW):x}\r\n".encode() + RAW + b"\r\n0\r\n\r\n"
    ),
    "the wrong charset in Content-Type": body(RAW, "text/plain; charset=utf-7"),
    "Content-Type: application/octet-stream": body(RAW, "application/octet-stream"),
}


def test_odd_headers_around_a_good_book_do_not_matter(download: Download, count: Count) -> None:
    for answer in ODD.values():
        with mirror({12: SPANISH}) as server:
            server.serve(11, answer)
            assert "corpus: gutenberg" in download.run(server.url, limits=PATIENT)
    count("Network", "odd headers: " + ", ".join(ODD), "the book", len(ODD))


def test_the_body_of_a_redirect_is_not_read(download: Download, good: MirrorServer, count: Count) -> None:
    with mirror({12: SPANISH}) as server:
        server.serve(11, endless(head(f"Location: {good.url}{book_path(11)}", status="302 Found")))
        assert "corpus: gutenberg" in download.run(server.url)
    count("Network", "a redirect with an endless body", "followed without reading it")


# --- nobody there


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    with mirror() as server:
        server.serve(11, answer)
        yield server.url


@contextmanager
def no_resolver(error: int) -> Iterator[str]:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(error, "the name is not resolved")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", fail)
        yield "https://mirror.example"


@contextmanager
def dead_proxy() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patched:
        for name in ("https_proxy", "HTTPS_PROXY"):
            patched.setenv(name, refused_url())
        patched.delenv("no_proxy", raising=False)
        yield "https://mirror.example"


@contextmanager
def closed_before_tls() -> Iterator[str]:
    with closed_at_once() as url:
        yield url.replace("http:", "https:")


Place = Callable[[], AbstractContextManager[str]]
SILENT: dict[str, tuple[Place, str]] = {
    "connection refused": (lambda: nullcontext(refused_url()), "connection failed: .*refused"),
    "no such host (DNS)": (lambda: no_resolver(socket.EAI_NONAME), "connection failed: .*the name is not resolved"),
    "no name server (DNS)": (lambda: no_resolver(socket.EAI_AGAIN), "connection failed: .*the name is not resolved"),
    "no answer to the connection (connect time-out)": (full_queue, "no connection within 0.2 s"),
    "no answer to the request (read time-out)": (lambda: answering(hang()), "no response within 0.2 s"),
    "a byte of the headers now and then": (
        lambda: answering(verbatim(b"HTTP/1.1 200 OK\r\nA: ", b"x", 0.03)),
        "not finished within 0.2 s",
    ),
    "'100 Continue' for ever": (
        lambda: answering(verbatim(b"", head(status="100 Continue"), 0.01)),
        "not finished within 0.2 s",
    ),
    "connection closed without a response": (lambda: answering(hang_up()), "connection failed: .*closed"),
    "connection closed before TLS": (closed_before_tls, "connection failed: .*EOF"),
    "a proxy that refuses connections": (dead_proxy, "proxy error: .*refused"),
}


@pytest.mark.parametrize("name", SILENT)
def test_only_where_no_mirror_answers_the_primer_is_used_with_a_warning(
    name: str, download: Download, good: MirrorServer, count: Count
) -> None:
    if name.startswith("no answer to the connection") and sys.platform != "linux":
        pytest.skip("other systems refuse a connection that does not fit into the queue")
    there, told = SILENT[name]
    at_once = not re.search("within|resolve", told)
    with there() as url:
        if at_once:
            assert "corpus: gutenberg" in download.run(url, good.url)
        printed = download.run(url, limits=BRIEF if "not finished" in told else HASTY)
    assert f"NO BOOKS: {UNREACHABLE}" in printed
    assert re.search(rf"^  {url}{book_path(11)}: {told}", printed, re.M), printed
    assert "corpus: primer" in printed
    assert b'"fallback": true' in download.results()["corpus_manifest.json"]
    count("Network", name, "the next mirror; if none answers: the primer, with a warning", 1 + at_once)


def test_without_the_fallback_an_unreachable_network_is_an_error(download: Download, count: Count) -> None:
    urls = [refused_url(), refused_url().replace("http:", "https:")]
    printed = download.run(*urls, fallback=False, code=2)
    assert f"error: {UNREACHABLE}:" in printed
    assert printed.count("connection failed") >= len(urls)
    assert "dvc exp run -S download.source=primer" in printed
    assert download.results() == download.earlier
    count(
        "Network",
        "no mirror reachable, download.offline_fallback: false",
        "exit 2, all mirrors named; corpus untouched",
    )


# --- several mirrors


def test_if_all_mirrors_fail_each_is_named_with_its_reason(download: Download, count: Count) -> None:
    with mirror({11: NOT_FOUND_PAGE}) as portal, mirror() as other:
        refused = refused_url()
        printed = download.run(portal.url, refused, other.url, code=2)
        for url, reason in ((portal.url, "an HTML page"), (refused, "connection failed"), (other.url, "HTTP 404")):
            assert f"  {url}{book_path(11)}: {reason}" in printed
    assert download.results() == download.earlier
    count("Network", "three mirrors: a login page, nobody, 404", "exit 2, each named with its reason; no primer")


@pytest.mark.parametrize("answer", [hang(), unavailable("3600"), verbatim(head(), b"x", 0.03)])
def test_a_mirror_that_is_too_slow_or_asks_for_a_long_wait_is_not_asked_for_the_next_book(
    answer: Answer, download: Download, good: MirrorServer, count: Count
) -> None:
    with mirror() as slow:
        slow.serve(11, answer)
        slow.serve(12, answer)
        download.run(slow.url, good.url, limits=Limits(connect=1, read=0.5, transfer=1, tries=1))
        assert book_path(12) not in slow.requests
    count(
        "Network", "a mirror that is silent, too slow or overloaded, and a second book", "only the next mirror is asked"
    )


# --- proxies, TLS, passwords


def test_loopback_ignores_the_proxies_of_the_environment(
    download: Download, good: MirrorServer, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, refused_url())
    monkeypatch.delenv("no_proxy", raising=False)
    assert "corpus: gutenberg" in download.run(good.url)
    count("Network", "proxy variables set, mirror on this machine", "asked directly")


@pytest.mark.parametrize("proxy", ["http://[::1", "socks9://127.0.0.1:1", "http://a b"])
def test_an_unusable_proxy_is_an_error_that_names_it(
    proxy: str, download: Download, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    printed = download.run("https://mirror.example", code=2)
    assert "Traceback" not in printed
    assert "prox" in printed.lower()
    assert download.results() == download.earlier
    count("Network", "proxy variable without a usable address", "exit 2, names the proxy; corpus untouched")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    file.write_bytes(private + signed.public_bytes(pem))
    return file


def test_tls_is_verified_and_a_redirect_to_http_is_not_followed(
    download: Download, good: MirrorServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    with mirror({11: RAW, 12: SPANISH}, certificate=certificate) as encrypted:
        printed = download.run(encrypted.url, code=2)
        assert "TLS error: " in printed
        assert "certificate verify failed" in printed
        assert encrypted.requests == []
        count("Network", "a certificate that nobody trusts", "exit 2; nothing is requested")

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        encrypted.serve(11, redirect(f"{good.url}{book_path(11)}"))
        printed = download.run(encrypted.url, code=2)
        assert f"redirects to {good.url}{book_path(11)}, which is no address with https" in printed
        assert good.requests == []
        count("Network", "redirect from https to http", "exit 2; not followed")

        encrypted.serve(11, redirect(f"{encrypted.url}/x"))
        encrypted.serve_path("/x", body(RAW))
        assert "corpus: gutenberg" in download.run(encrypted.url)
    printed = download.run(good.url.replace("http:", "https:"), code=2)
    assert "TLS error: " in printed
    count("Network", "https at a port without TLS", "exit 2")


def test_no_password_of_netrc_is_sent(
    download: Download, good: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    with mirror() as other:
        other.serve(11, redirect(f"{good.url}{book_path(11)}"))
        download.run(other.url, good.url)
        requests = good.headers_seen + other.headers_seen
    assert len(requests) == 4
    assert all(
        set(request) <= {"Host", "User-Agent", "Accept-Encoding", "Accept", "Connection"} for request in requests
    )
    count("Privacy", "passwords in ~/.netrc, requests to mirrors and after a redirect", "not sent", len(requests))


# --- headers, and the cache


@given(st.text(st.characters(max_codepoint=255)) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]+ Dec -?[0-9]+ [0-9:]+ GMT"))
@example("9" * 5000)
@example("Fri, 31 Dec 9999999 23:59:59 GMT")
@example("Fri, 31 Dec 99999999999999999999 23:59:59 GMT")
def test_any_retry_after_is_a_number_of_seconds(header: str) -> None:
    seconds = retry_after(header)
    assert seconds >= 0
    assert math.isfinite(seconds)


@given(
    st.sampled_from(["http", "https"]), st.text() | st.from_regex(r"(https?|file|ftp|//|http:|HTTPS)[:/\[\]a-z@.#?]*")
)
@example("https", "HTTP://mirror.example/x")
@example("https", "//mirror.example/x")
@example("http", "http://[::1")
def test_any_redirect_leads_to_http_or_https_and_never_to_less(scheme: str, target: str) -> None:
    with suppress(TransferFailed):
        followed = urlsplit(redirected(f"{scheme}://mirror.example/a", target)).scheme
        assert followed == "https" or followed == scheme == "http"


DAMAGE = {"empty": b"", "cut": RAW[:-500], "changed": RAW.replace(b"the", b"teh", 1), "another book": SPANISH}


def test_a_damaged_book_in_the_cache_is_downloaded_again(download: Download, good: MirrorServer, count: Count) -> None:
    download.run(good.url)
    results, [name] = download.results(), download.cached()
    for damage in DAMAGE.values():
        kept = download.folder / "raw" / name
        kept.write_bytes(damage)
        good.requests.clear()
        assert f"{name} is damaged; downloading it again" in download.run(good.url, cached=True)
        assert good.requests == [book_path(11)]
        assert kept.read_bytes() == RAW
        assert download.results() == results
    count("Damaged files", "a book in data/raw, " + ", ".join(DAMAGE), "noticed, downloaded again", len(DAMAGE))
