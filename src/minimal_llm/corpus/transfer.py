"""A polite HTTP client: retries, pauses, limits, and a readable reason for every failure."""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import time
import warnings
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, RemoteDisconnected
from threading import Thread
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
_REDIRECTS = 5
_LONGEST_REASON = 300
_OBJECT_NAME = re.compile(r"^\W?HTTPS?Connection(?:Pool)?\(.*?\)[^:]*: ")  # what urllib3 puts before the reason


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to accept. Times are in seconds, sizes in bytes."""

    connect: float = 5.0
    read: float = 30.0  # without receiving a byte
    transfer: float = 300.0  # for one try, from looking the name up to the last byte
    retry_after: float = 60.0  # give up on a server that asks for a longer wait
    tries: int = 3
    backoff: float = 1.0  # before the first retry; doubles with each one
    size: int = 20_000_000  # after decompression


class TransferFailed(Exception):
    """Why a URL could not be downloaded; callers turn it into an error for the user.

    `answered` tells whether a server sent any response at all, `transient` whether a retry may succeed,
    `retry_after` how many seconds the server asked to wait first (0 if it did not say), and `busy` whether asking the
    same server for another file would be futile or impolite.
    """

    def __init__(
        self,
        reason: str,
        *,
        answered: bool,
        transient: bool = False,
        retry_after: float = 0.0,
        busy: bool = False,
    ) -> None:
        # Servers choose parts of it, and it is printed on a terminal.
        self.reason = "".join(character if character.isprintable() else "?" for character in reason)[:_LONGEST_REASON]
        super().__init__(self.reason)
        self.answered = answered
        self.transient = transient
        self.retry_after = retry_after
        self.busy = busy


class Transfer:
    """Downloads files, one at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connection = _Connection(limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

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
                return self._in_time(url, label)
            except TransferFailed as failure:
                failure.answered = answered = answered or failure.answered
                if not failure.transient or attempt >= self.limits.tries:
                    raise
                pause = failure.retry_after or self.limits.backoff * 2 ** (attempt - 1)
                print(f"{url}: {failure.reason}; retrying in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
            attempt += 1

    def _in_time(self, url: str, label: str) -> bytes:
        # In a thread, because no time-out of a socket ends what never stops sending: it starts again with each byte,
        # be it of the headers, of a chunk's trailers or of compressed nothing; and a name lookup has none at all.
        connection = self._connection
        body: Future[bytes] = Future()
        Thread(target=_settle, args=(body, connection, url, label), daemon=True).start()
        if wait([body], self.limits.transfer).done:
            return body.result()
        connection.abandoned = True
        self._connection = _Connection(self.limits)
        raise TransferFailed(f"not finished within {self.limits.transfer:g} s", answered=connection.answered, busy=True)


def _settle(body: Future[bytes], connection: _Connection, url: str, label: str) -> None:
    try:
        body.set_result(connection.get(url, label))
    except BaseException as error:
        body.set_exception(error)


class _Connection:
    """Makes single requests; keeps a connection to each server. `answered` tells whether one responded to the last."""

    def __init__(self, limits: Limits) -> None:
        self.answered = False
        self.abandoned = False  # nobody waits for the body any more
        self._limits = limits
        self._session = requests.Session()
        # The bytes as archived: their number matches Content-Length, and their hash is stable.
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._session.auth = _anonymous
        # Both print tracebacks about malformed headers that do not matter here.
        warnings.filterwarnings("ignore", "http.cookiejar bug")
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1))

    def close(self) -> None:
        self._session.close()

    def get(self, url: str, label: str) -> bytes:
        """Return the body of `url`, after one try.

        Raises:
            TransferFailed: there is none, or not a complete one.
        """
        self.answered = False
        try:
            response = self._response(url)
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise self._no_response(error) from error
        with response:
            if response.status_code != requests.codes.ok:
                raise self._bad_status(response)
            return self._body(response, label)

    def _response(self, url: str) -> requests.Response:
        for _ in range(_REDIRECTS + 1):
            response = self._send(url)
            self.answered = True
            target = self._session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url = redirected(url, target)
        raise TransferFailed(f"more than {_REDIRECTS} redirects", answered=True)

    def _send(self, url: str) -> requests.Response:
        # Not Session.get: it reads the whole body of a redirect, even an endless one.
        request = self._session.prepare_request(requests.Request("GET", url))
        # A proxy from the environment cannot reach this machine's own loopback.
        proxies = {"http": "", "https": ""} if is_loopback(url) else {}
        settings = self._session.merge_environment_settings(url, proxies, None, None, None)
        return self._session.get_adapter(url).send(
            request,
            stream=True,
            timeout=(self._limits.connect, self._limits.read),
            verify=settings["verify"] or True,  # a path, if REQUESTS_CA_BUNDLE names one
            proxies=settings["proxies"],
        )

    def _bad_status(self, response: requests.Response) -> TransferFailed:
        reason = f"HTTP {response.status_code}"
        if response.status_code not in _TRANSIENT_STATUSES:
            return TransferFailed(reason, answered=True)
        pause = retry_after(response.headers.get("Retry-After", ""))
        if pause > self._limits.retry_after:
            return TransferFailed(f"{reason}, Retry-After: {pause:.0f} s is too long to wait", answered=True, busy=True)
        return TransferFailed(reason, answered=True, transient=True, retry_after=pause)

    def _no_response(self, error: Exception) -> TransferFailed:
        cause = _root(error)
        match error:
            case requests.exceptions.SSLError() if "EOF occurred" not in str(error):
                return TransferFailed(f"TLS error: {_text(cause)}", answered=True)
            case requests.ConnectTimeout():
                reason = f"no connection within {self._limits.connect:g} s"
            case requests.Timeout():
                reason = f"no response within {self._limits.read:g} s"
            case requests.exceptions.ProxyError():
                reason = f"proxy error: {_text(cause)}"
            case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema() if not self.answered:
                reason = f"this address, or the proxy in https_proxy or all_proxy, cannot be used: {_text(cause)}"
                return TransferFailed(reason, answered=True)
            case requests.ConnectionError() if not _is_nonsense(cause):
                reason = f"connection failed: {_text(cause)}"
            case _:
                return TransferFailed(f"invalid response: {_text(cause)}", answered=True)
        return TransferFailed(reason, answered=self.answered, transient=True)

    def _body(self, response: requests.Response, label: str) -> bytes:
        limit = self._limits.size
        expected = response.raw.length_remaining  # of an acceptable Content-Length; None without one
        if expected is not None and expected > limit:
            raise TransferFailed(f"too large: {expected} bytes (limit: {limit})", answered=True)
        body = bytearray()
        try:
            with tqdm(total=expected, desc=label, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                # read1 returns what has arrived; read would wait to fill a chunk, no matter how slowly bytes trickle in
                while not self.abandoned and (chunk := response.raw.read1(_CHUNK, decode_content=True)):
                    body += chunk
                    bar.update(len(chunk))
                    if len(body) > limit:
                        raise TransferFailed(f"too large: more than {limit} bytes", answered=True)
        except HTTPError as error:
            raise TransferFailed(
                f"connection lost after {len(body)} bytes: {_text(_root(error))}", answered=True, transient=True
            ) from error
        return bytes(body)


def redirected(url: str, target: str) -> str:
    """Return the URL that a response for `url` redirects to: http or https, but never from https to http.

    Raises:
        TransferFailed: it is another URL, or none.
    """
    schemes = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    with suppress(ValueError):
        joined = urljoin(url, target)
        if urlsplit(joined).scheme in schemes:
            return joined
    raise TransferFailed(f"redirects to {target}, which is no address with {' or '.join(schemes)}", answered=True)


def retry_after(header: str) -> float:
    """Return how many seconds a Retry-After header asks to wait: 0 if it is unreadable or in the past."""
    try:
        return Retry(retry_after_max=sys.maxsize).parse_retry_after(header)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def is_loopback(url: str) -> bool:
    """Return whether a URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an authentication of its own, requests would send mirrors the passwords in ~/.netrc.
    return request


def _root(error: BaseException) -> BaseException:
    # requests wraps urllib3, which wraps the cause: the innermost message is the one that helps.
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = next(
            (part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, BaseException)), None
        )
    return error


def _text(error: BaseException) -> str:
    return _OBJECT_NAME.sub("", str(error)) or type(error).__name__


def _is_nonsense(cause: BaseException) -> bool:
    # Something answered, but not in HTTP. RemoteDisconnected is a BadStatusLine without a single byte.
    return isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected)
