"""SIGINT and SIGTERM as a request to stop at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopNow(BaseException):  # no Exception: libraries in between must not take it for a failure of theirs
    """A signal came while it may break off what runs."""


class StopRequest:
    """Whether a signal asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._raises = False

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal. More of them do no harm."""
        self.requested = True
        if self._raises:
            self._raises = False
            raise StopNow

    @contextmanager
    def raising(self, at_once: bool) -> Iterator[None]:
        """Raise StopNow in the block where a signal came before it or comes while it runs."""
        self._raises = at_once
        try:
            if at_once and self.requested:
                raise StopNow
            yield
        finally:
            self._raises = False


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the loop sees after the step at hand.

    Once one came they are ignored afterwards: the process is about to end, and a second one must not break that off.
    """
    stop = StopRequest()
    before = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.requested else handler)
