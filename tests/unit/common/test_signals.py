from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from minimal_llm.common.signals import catch_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of this process, put back after the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_terminal_asks_to_stop_as_kill_and_ctrl_c_do(number: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with catch_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
    os.kill(os.getpid(), number)  # ignored: the process is about to exit


def test_under_nohup_the_end_of_the_terminal_changes_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with catch_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.requested
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
