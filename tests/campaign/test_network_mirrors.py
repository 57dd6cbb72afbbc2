"""Mirrors that do not answer, several mirrors, proxies, TLS, and the cache of stage download."""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from minimal_llm.corpus.transfer import Limits, TransferFailed, redirected, retry_after
from tests.support.campaign import Count
from tests.support.download import BRIEF, HASTY, RAW, SPANISH, UNREACHABLE, Download, unavailable
from tests.support.mirror_server import (
    NOT_FOUND_PAGE,
    Answer,
    MirrorServer,
    body,
    book_path,
    closed_at_once,
    full_queue,
    hang,
    hang_up,
    head,
    mirror,
    redirect,
    refused_url,
    verbatim,
)

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
    assert "prox" in printed.lower() or proxy in printed  # by PySocks, where it is installed
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
