"""Ctrl+C, kill and the end of the terminal (SIGINT, SIGTERM, SIGHUP) as a request to stop at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopNow(BaseException):  # not an Exception, so that no library in between catches it as a failure
    """A signal arrived in a block that may be abandoned at once."""


class StopRequest:
    """Records which signal, if any, asked the program to stop."""

    def __init__(self) -> None:
        self.signal = 0  # the last one
        self._raises = False

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal != 0

    def request(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal. Repeated signals are harmless."""
        self.signal = number
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


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask this program to stop. SIGHUP is not among them where nohup has it ignored."""
    stopping = [signal.SIGINT, signal.SIGTERM]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        stopping.append(hangup)
    return stopping


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn `stop_signals` into a StopRequest that the caller checks after each step.

    Once one has arrived, all of them stay ignored after the block: the process is about to exit, and a second Ctrl+C
    must not interrupt the cleanup.
    """
    stop = StopRequest()
    before = {number: signal.signal(number, stop.request) for number in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.requested else handler)
