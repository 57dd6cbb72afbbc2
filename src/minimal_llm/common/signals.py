"""SIGINT and SIGTERM as a request to stop at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopNow(BaseException):  # not an Exception, so that no library in between catches it as a failure
    """A signal arrived in a block that may be abandoned at once."""


class StopRequest:
    """Records whether a signal asked the program to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._raises = False

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal. Repeated signals are harmless."""
        self.requested = True
        if self._raises:
            self._raises = False
            raise StopNow

    @contextmanager
    def raising(self, at_once: bool) -> Iterator[None]:
        """If `at_once`, raise StopNow for a signal that arrived before this block or arrives inside it."""
        self._raises = at_once
        try:
            if at_once and self.requested:
                raise StopNow
            yield
        finally:
            self._raises = False


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a StopRequest that the caller checks after each step.

    Once one has arrived, both signals stay ignored after the block: the process is about to exit, and a second Ctrl+C
    must not interrupt the cleanup.
    """
    stop = StopRequest()
    before = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.requested else handler)
