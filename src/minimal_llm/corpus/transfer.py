"""One polite HTTP client: tries, pauses, limits, and a plain reason for everything that goes wrong."""

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
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from minimal_llm import __version__

USER_AGENT = f"minimal-llm/{__version__} (trains a tiny language model; one connection, with pauses)"
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
_CHUNK = 65_536
_OBJECT_NAME = re.compile(r"^\W?HTTPS?Connection(?:Pool)?\(.*?\)[^:]*: ")  # what urllib3 puts before the reason


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to accept. Times are seconds, sizes bytes."""

    connect: float = 5.0
    read: float = 30.0  # without a byte
    transfer: float = 300.0  # a whole file
    retry_after: float = 60.0  # a server that asks for a longer wait is given up
    tries: int = 3
    backoff: float = 1.0  # before the second try; twice as long before each further one
    size: int = 20_000_000


class TransferFailed(Exception):
    """Why a URL gave nothing. The caller makes an error for the user of it.

    `answered` says whether any server answered anything at all, `again` whether it may work at another time.
    """

    def __init__(
        self, reason: str, *, answered: bool, again: bool = False, response: BaseHTTPResponse | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered
        self.again = again
        self.response = response


class SafeSession(requests.Session):
    """A session that follows redirects, but never from https to http, and knows whether a server answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False
        self.max_redirects = 5
        # Bytes as they are in the archive: their number can be compared with Content-Length, their hash is stable.
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1))

    def get_redirect_target(self, response: requests.Response) -> str | None:
        """Return where a response redirects to, or None.

        Raises:
            requests.exceptions.InvalidURL: from an encrypted connection to one that is not.
        """
        self.answered = True
        target = super().get_redirect_target(response)
        if target is None or not response.url.lower().startswith("https:"):
            return target
        if not urljoin(response.url, target).lower().startswith("https:"):
            raise requests.exceptions.InvalidURL(f"redirects from https to {target}")
        return target


class Transfer:
    """Fetches files, one after the other."""

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
        """Return the body of `url`, with a progress bar called `label` on a terminal.

        What may pass (no connection, no answer, a busy server, a body cut off) is tried again after a pause; a
        Retry-After is obeyed.

        Raises:
            TransferFailed: it could not be had whole.
        """
        policy = _Policy(total=self.limits.tries - 1, backoff_factor=self.limits.backoff)
        answered = False
        while True:
            try:
                return self._attempt(url, label)
            except TransferFailed as failure:
                failure.answered = answered = answered or failure.answered
                if not failure.again:
                    raise
                wait = self._asked_wait(policy, failure)
                try:
                    policy = policy.increment("GET", url)
                except MaxRetryError:
                    raise failure from None
                print(f"{url}: {failure.reason}; trying again", file=sys.stderr, flush=True)
                policy.sleep(failure.response if wait else None)

    def _asked_wait(self, policy: Retry, failure: TransferFailed) -> float:
        if failure.response is None:
            return 0.0
        try:
            wait = policy.get_retry_after(failure.response) or 0.0
        except InvalidHeader:
            return 0.0
        if wait > self.limits.retry_after:
            raise TransferFailed(f"{failure.reason}, and it asks to wait {wait:.0f} s", answered=True) from failure
        return wait

    def _attempt(self, url: str, label: str) -> bytes:
        self._session.answered = False
        # A proxy of the environment cannot reach this machine's own loopback.
        proxies = {"http": "", "https": ""} if is_loopback(url) else None
        try:
            response = self._session.get(
                url, stream=True, timeout=(self.limits.connect, self.limits.read), proxies=proxies
            )
        except requests.RequestException as error:
            raise self._no_response(error) from error
        with response:
            if response.status_code != requests.codes.ok:
                again = response.status_code in _TRY_AGAIN
                raise TransferFailed(f"HTTP {response.status_code}", answered=True, again=again, response=response.raw)
            return self._body(response, label)

    def _no_response(self, error: requests.RequestException) -> TransferFailed:
        answered = self._session.answered
        match error:
            case requests.exceptions.SSLError() if "EOF occurred" not in str(error):
                return TransferFailed(f"no secure connection: {_root(error)}", answered=True)
            case requests.ConnectTimeout():
                reason = f"no connection within {self.limits.connect:g} s"
            case requests.Timeout():
                reason = f"no answer within {self.limits.read:g} s"
            case requests.exceptions.ProxyError():
                reason = f"the proxy cannot be used: {_root(error)}"
            case requests.ConnectionError():
                reason = f"cannot be reached: {_root(error)}"
            case _:
                return TransferFailed(f"no usable answer: {_root(error)}", answered=True)
        return TransferFailed(reason, answered=answered, again=True)

    def _body(self, response: requests.Response, label: str) -> bytes:
        limits = self.limits
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        if expected is not None and expected > limits.size:
            raise TransferFailed(f"{expected} bytes are more than the limit of {limits.size}", answered=True)
        deadline = time.monotonic() + limits.transfer
        body = bytearray()
        try:
            with tqdm(total=expected, desc=label, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                # read1 returns what has come; read would wait for a full chunk of a trickle, whatever the deadline
                while chunk := response.raw.read1(_CHUNK, decode_content=True):
                    body += chunk
                    bar.update(len(chunk))
                    if len(body) > limits.size:
                        raise TransferFailed(f"more than the limit of {limits.size} bytes", answered=True)
                    if time.monotonic() > deadline:
                        raise TransferFailed(f"not finished after {limits.transfer:g} s", answered=True)
        except HTTPError as error:
            raise TransferFailed(
                f"cut off after {len(body)} bytes: {_root(error)}", answered=True, again=True
            ) from error
        received = response.raw.tell()
        if expected is not None and received != expected:
            raise TransferFailed(f"truncated: {received} of {expected} bytes", answered=True, again=True)
        return bytes(body)


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Policy(Retry):
    """urllib3's rules, but with a pause before the first repetition too."""

    def get_backoff_time(self) -> float:
        return float(self.backoff_factor * 2 ** (len(self.history) - 1))


def _root(error: BaseException) -> str:
    # requests wraps urllib3, which wraps the reason: the innermost words are the ones that help.
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = next(
            (part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, BaseException)), None
        )
    return _OBJECT_NAME.sub("", str(error)) or type(error).__name__
