"""What a mirror can answer to stage download: what is asked again, what a user is told, what stays as it was."""

from __future__ import annotations

import gzip
import re
import time
import tracemalloc
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from random import Random

import pytest

from minimal_llm.corpus.transfer import Limits
from tests.support.books import TITLES, synthetic_book
from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.download import BRIEF, HASTY, PATIENT, RAW, SPANISH, Download, unavailable
from tests.support.mirror_server import (
    NOT_FOUND_PAGE,
    Answer,
    MirrorServer,
    body,
    book_path,
    cut_off,
    endless,
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


def chunked(text: bytes) -> Answer:
    return verbatim(head("Transfer-Encoding: chunked") + text)


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
    "a malformed cookie": verbatim(head("Set-Cookie: a=b; Max-Age") + RAW),
}


def test_odd_headers_around_a_good_book_do_not_matter(
    download: Download, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture, count: Count
) -> None:
    for answer in ODD.values():
        with mirror({12: SPANISH}) as server:
            server.serve(11, answer)
            assert "corpus: gutenberg" in download.run(server.url, limits=PATIENT)
    assert [str(each.message) for each in recwarn if each.category is not ResourceWarning] == []
    assert caplog.messages == []  # of urllib3, with a traceback
    count("Network", "odd headers: " + ", ".join(ODD), "the book", len(ODD))


def test_the_body_of_a_redirect_is_not_read(download: Download, good: MirrorServer, count: Count) -> None:
    with mirror({12: SPANISH}) as server:
        server.serve(11, endless(head(f"Location: {good.url}{book_path(11)}", status="302 Found")))
        assert "corpus: gutenberg" in download.run(server.url)
    count("Network", "a redirect with an endless body", "followed without reading it")


# --- at random, and under DVC


def damaged(response: bytes, random: Random) -> bytes:
    """Return a response with bytes flipped, a part cut out, repeated or replaced; mostly among its headers."""
    changed = bytearray(response)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed) if random.random() < 0.3 else min(len(changed), 250))
        length = random.choice((1, 1, 1, 5, 200))
        noise = random.choice((random.randbytes(length), changed[place : place + length] * 2, b"\r\n\r\n", b"\0", b""))
        changed[place : place + random.choice((0, length))] = noise
    return bytes(changed)


@pytest.mark.long
def test_a_response_damaged_at_random_is_a_book_or_an_error_without_a_traceback(
    download: Download, random: Random, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture, count: Count
) -> None:
    length = f"Content-Length: {len(RAW)}"
    whole = (
        head("Server: x", "Content-Type: text/plain", length) + RAW,
        head("Transfer-Encoding: chunked", "Retry-After: 5") + f"{len(RAW):x}\r\n".encode() + RAW + b"\r\n0\r\n\r\n",
        head("Content-Encoding: gzip") + gzip.compress(RAW),
        head("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", status="429 Slow") + b"\r\n",
        head("Location: http://127.0.0.1/x", "Set-Cookie: a=b; Max-Age=5", status="302 Found"),
    )
    rounds = 300
    for number in range(rounds):
        with mirror({12: SPANISH}) as server:
            server.serve(11, verbatim(damaged(whole[number % len(whole)], random)))
            code, printed = download.outcome(server.url, limits=BRIEF)
        assert code in (0, 2), printed
        assert "Traceback" not in printed
        assert code == 0 or (server.url in printed and download.results() == download.earlier), printed
        download.start_over()
    assert [str(each.message) for each in recwarn if each.category is not ResourceWarning] == []
    assert caplog.messages == []  # of urllib3, with a traceback
    count("Network", "responses with random damage", "the book, or an error as above; never a traceback", rounds)


@pytest.mark.long
@needs_venv
def test_after_a_failed_download_under_dvc_the_earlier_corpus_comes_back(
    first_clone: Clone, tmp_path: Path, count: Count
) -> None:
    clone = first_clone.copy_to(tmp_path / "clone")
    kept = ("corpus_bilingual.txt", "corpus_manifest.json", "best_model.pt", "report.md")
    before = {name: (clone.folder / "data" / name).read_bytes() for name in kept}
    with mirror() as server:
        change = ("-S", "download.source=gutenberg")
        printed = clone.run("dvc", "exp", "run", *change, code=255, GUTENBERG_MIRRORS=server.url)
    assert "no mirror delivered book 11 (en):" in printed
    clone.git("checkout", "params.yaml", "dvc.lock", "data")
    clone.run("dvc", "checkout")
    assert {name: (clone.folder / "data" / name).read_bytes() for name in kept} == before
    count("Network", "no book under DVC", "the earlier results come back with git checkout and dvc checkout", len(kept))
