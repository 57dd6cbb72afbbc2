"""A polite HTTP client: retries, pauses, limits, and a readable reason for every failure."""

from __future__ import annotations

import ipaddress
import re
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from minimal_llm import __version__

USER_AGENT = f"minimal-llm/{__version__} (trains a tiny language model; one connection, with pauses)"
_TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
_CHUNK = 65_536
_OBJECT_NAME = re.compile(r"^\W?HTTPS?Connection(?:Pool)?\(.*?\)[^:]*: ")  # what urllib3 puts before the reason


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to accept. Times are in seconds, sizes in bytes."""

    connect: float = 5.0
    read: float = 30.0  # without receiving a byte
    transfer: float = 300.0  # for a whole file
    retry_after: float = 60.0  # give up on a server that asks for a longer wait
    tries: int = 3
    backoff: float = 1.0  # before the first retry; doubles with each one
    size: int = 20_000_000


class TransferFailed(Exception):
    """Why a URL could not be downloaded; callers turn it into an error for the user.

    `answered` tells whether a server sent any response at all, `transient` whether a retry may succeed, and
    `retry_after` how many seconds the server asked to wait first (0 if it did not say).
    """

    def __init__(self, reason: str, *, answered: bool, transient: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered
        self.transient = transient
        self.retry_after = retry_after


class SafeSession(requests.Session):
    """A session that follows redirects, but never from https to http, and records whether a server answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False
        self.max_redirects = 5
        # The bytes as archived: their number matches Content-Length, and their hash is stable.
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1))

    def get_redirect_target(self, response: requests.Response) -> str | None:
        """Return the redirect target of a response, or None.

        Raises:
            requests.exceptions.InvalidURL: the redirect would downgrade an encrypted connection to plain http.
        """
        self.answered = True
        target = super().get_redirect_target(response)
        if target is None or not response.url.lower().startswith("https:"):
            return target
        if not urljoin(response.url, target).lower().startswith("https:"):
            raise requests.exceptions.InvalidURL(f"redirects from https to {target}")
        return target


class Transfer:
    """Downloads files, one at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._session = SafeSession()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def get(self, url: str, label: str) -> bytes:
        """Return the body of `url`, showing a progress bar named `label` on a terminal.

        Transient failures (no connection, no response, a busy server, an incomplete body) are retried with
        exponential backoff, or after the Retry-After that the server sends.

        Raises:
            TransferFailed: the file could not be downloaded completely.
        """
        # Retries are not left to HTTPAdapter(max_retries=...): its responsibility ends with the headers, and most
        # failures of a large file come after them.
        answered = False
        attempt = 1
        while True:
            try:
                return self._attempt(url, label)
            except TransferFailed as failure:
                failure.answered = answered = answered or failure.answered
                if not failure.transient or attempt >= self.limits.tries:
                    raise
                pause = failure.retry_after or self.limits.backoff * 2 ** (attempt - 1)
                print(f"{url}: {failure.reason}; retrying in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
            attempt += 1

    def _attempt(self, url: str, label: str) -> bytes:
        self._session.answered = False
        # A proxy from the environment cannot reach this machine's own loopback.
        proxies = {"http": "", "https": ""} if is_loopback(url) else None
        try:
            response = self._session.get(
                url, stream=True, timeout=(self.limits.connect, self.limits.read), proxies=proxies
            )
        except requests.RequestException as error:
            raise self._no_response(error) from error
        with response:
            if response.status_code != requests.codes.ok:
                raise self._bad_status(response)
            return self._body(response, label)

    def _bad_status(self, response: requests.Response) -> TransferFailed:
        reason = f"HTTP {response.status_code}"
        if response.status_code not in _TRANSIENT_STATUSES:
            return TransferFailed(reason, answered=True)
        try:
            wait = Retry().get_retry_after(response.raw) or 0.0
        except InvalidHeader:
            wait = 0.0
        if wait > self.limits.retry_after:
            return TransferFailed(f"{reason}, Retry-After: {wait:.0f} s is too long to wait", answered=True)
        return TransferFailed(reason, answered=True, transient=True, retry_after=wait)

    def _no_response(self, error: requests.RequestException) -> TransferFailed:
        match error:
            case requests.exceptions.SSLError() if "EOF occurred" not in str(error):
                return TransferFailed(f"TLS error: {_root(error)}", answered=True)
            case requests.ConnectTimeout():
                reason = f"no connection within {self.limits.connect:g} s"
            case requests.Timeout():
                reason = f"no response within {self.limits.read:g} s"
            case requests.exceptions.ProxyError():
                reason = f"proxy error: {_root(error)}"
            case requests.ConnectionError():
                reason = f"connection failed: {_root(error)}"
            case _:
                return TransferFailed(f"invalid response: {_root(error)}", answered=True)
        return TransferFailed(reason, answered=self._session.answered, transient=True)

    def _body(self, response: requests.Response, label: str) -> bytes:
        limits = self.limits
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        if expected is not None and expected > limits.size:
            raise TransferFailed(f"too large: {expected} bytes (limit: {limits.size})", answered=True)
        deadline = time.monotonic() + limits.transfer
        body = bytearray()
        try:
            with tqdm(total=expected, desc=label, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                # read1 returns what has arrived; read would wait to fill a chunk, no matter how slowly bytes trickle in
                while chunk := response.raw.read1(_CHUNK, decode_content=True):
                    body += chunk
                    bar.update(len(chunk))
                    if len(body) > limits.size:
                        raise TransferFailed(f"too large: more than {limits.size} bytes", answered=True)
                    if time.monotonic() > deadline:
                        raise TransferFailed(f"not finished within {limits.transfer:g} s", answered=True)
        except HTTPError as error:
            raise TransferFailed(
                f"connection lost after {len(body)} bytes: {_root(error)}", answered=True, transient=True
            ) from error
        received = response.raw.tell()
        if expected is not None and received != expected:
            raise TransferFailed(f"truncated: received {received} of {expected} bytes", answered=True, transient=True)
        return bytes(body)


def is_loopback(url: str) -> bool:
    """Return whether a URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _root(error: BaseException) -> str:
    # requests wraps urllib3, which wraps the cause: the innermost message is the one that helps.
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = next(
            (part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, BaseException)), None
        )
    return _OBJECT_NAME.sub("", str(error)) or type(error).__name__
