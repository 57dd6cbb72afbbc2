"""A fake Project Gutenberg mirror on loopback that can fail in every way.

    with mirror(books={11: raw}) as server:
        server.serve(11, status(503), body(raw))   # the first response; the last one is repeated forever
        ... server.url ... server.requests

It binds a free port of 127.0.0.1 and shuts down at the end of the `with` block.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[["Handler"], None]

NOT_FOUND_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 | Not here</title></head><body>No such book.</body></html>\n"


class Clock:
    """Replaces the module `time` in the client: sleeping takes no time, and is recorded."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class MirrorServer(ThreadingHTTPServer):
    """Sends scripted responses and records the requests it receives (paths and headers)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path | None = None, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.stopping = threading.Event()
        self.requests: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.connections = 0
        self._answers: dict[str, list[Answer]] = {}

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def serve(self, number: int, *answers: Answer) -> None:
        """Send these responses to requests for a book, in order; the last one is repeated."""
        self.serve_path(book_path(number), *answers)

    def serve_path(self, path: str, *answers: Answer) -> None:
        """Like `serve`, for any path."""
        self._answers[path] = list(answers)

    def answer(self, path: str) -> Answer:
        self.requests.append(path)
        if answers := self._answers.get(path):
            return answers.pop(0) if len(answers) > 1 else answers[0]
        if self.folder and (file := self.folder / path.lstrip("/")).is_file():
            return body(file.read_bytes())
        return status(404, NOT_FOUND_PAGE)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.connections += 1
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: MirrorServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.headers_seen.append(dict(self.headers))
        self.server.answer(self.path)(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name given by the base class
        pass

    def reply(self, code: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def mirror(
    books: Mapping[int, bytes] | None = None, folder: Path | None = None, certificate: Path | None = None
) -> Iterator[MirrorServer]:
    """Serve `books` by number and the files in `folder` (laid out like a mirror); everything else is a 404.

    With a file of a certificate and its key, serve them over TLS.
    """
    server = MirrorServer(folder, certificate)
    for number, raw in (books or {}).items():
        server.serve(number, body(raw))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def book_path(number: int) -> str:
    return f"/cache/epub/{number}/pg{number}.txt"


def refused_url() -> str:
    """Return the URL of a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def full_queue() -> Iterator[str]:
    """Yield the URL of a port where Linux leaves each connection unanswered, as a firewall does that drops packets."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def closed_at_once() -> Iterator[str]:
    """Yield the URL of a port that accepts connections and closes them without a response, as some firewalls do."""

    class Closer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)

    with socketserver.TCPServer(("127.0.0.1", 0), Closer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def body(raw: bytes, content_type: str = "text/plain", encoding: str = "") -> Answer:
    """Send status 200 with the complete body."""
    headers = {"Content-Type": content_type, "Content-Length": str(len(raw))}
    return lambda handler: handler.reply(200, headers | ({"Content-Encoding": encoding} if encoding else {}), raw)


def status(code: int, page: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Send another status, with additional headers such as Retry-After."""
    all_headers = {"Content-Length": str(len(page)), **(headers or {})}
    return lambda handler: handler.reply(code, all_headers, page)


def redirect(url: str) -> Answer:
    return status(302, headers={"Location": url})


def verbatim(
    first: bytes, repeat: bytes = b"", pause: float = 0.0, *, hang: bool = False, reset: bool = False
) -> Answer:
    """Send exactly these bytes, then others for ever with a pause (in seconds) between them.

    At the end the server stays silent (`hang`), resets the connection (`reset`), or closes it.
    """

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(first)
        while repeat and not handler.server.stopping.wait(pause):
            handler.wfile.write(repeat)
        if hang:
            handler.server.stopping.wait()
        if reset:
            handler.rfile.close()  # else the socket stays open, and a proper end is sent first
            handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.request.close()

    return answer


def head(*headers: str, status: str = "200 OK") -> bytes:
    """Return the first lines of a response, for `verbatim`."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, "")).encode("latin-1")


def truncated(raw: bytes, keep: int) -> Answer:
    """Announce all bytes, send only some, then hang up."""
    return verbatim(head(f"Content-Length: {len(raw)}") + raw[:keep])


def cut_off(raw: bytes, keep: int) -> Answer:
    """Send only some bytes without a Content-Length, then hang up, as if the text ended there."""
    return verbatim(head() + raw[:keep])


def hang(after: bytes = b"") -> Answer:
    """Accept the request and never respond, or stop after the beginning of the body."""
    return verbatim(head(f"Content-Length: {len(after) + 1000}") + after if after else b"", hang=True)


def hang_up() -> Answer:
    """Close the connection without a response."""
    return verbatim(b"")


def slow(raw: bytes, pieces: int, pause: float) -> Answer:
    """Send the body in pieces, with a pause (in seconds) between them."""

    def answer(handler: Handler) -> None:
        handler.reply(200, {"Content-Length": str(len(raw))}, b"")
        size = -(-len(raw) // pieces)
        for start in range(0, len(raw), size):
            if handler.server.stopping.wait(pause if start else 0):
                return
            handler.wfile.write(raw[start : start + size])

    return answer


def endless(first: bytes = head(), piece: bytes = b"all work and no play \n" * 1000) -> Answer:
    """Send an endless body without a Content-Length."""
    return verbatim(first, piece)
