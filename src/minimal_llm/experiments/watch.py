"""`make watch`: how training stands, live, in a terminal beside it.

python -m minimal_llm.watch     # Ctrl+C leaves; where the output is no terminal, one look and the end

It reads the live logs of the runs (training/live.py) and touches nothing: training does not know that it is watched.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.live import Live

from minimal_llm.common.artifacts import DATA, Artifacts
from minimal_llm.common.live_log import Event, live_logs, read_events
from minimal_llm.experiments.watch_view import WatchedRun, view

REFRESH_SECONDS = 0.5
LEAVE = (b"\x03", b"q", b"Q")


class Logs:
    """The live logs of this repository. A log is read again only when it has changed."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, float], list[Event]]] = {}

    def read(self) -> list[WatchedRun]:
        """Return all runs that began to train, the one that wrote last first."""
        roots = [
            Artifacts(DATA).checkpoints,
            *Path("runs").glob("*/checkpoints"),
            *Path("runs").glob("*/*/checkpoints"),
        ]
        runs = [WatchedRun.of(log.parent, self._events(log)) for root in roots for log in live_logs(root)]
        return sorted((run for run in runs if run), key=lambda run: run.last_sign, reverse=True)

    def _events(self, log: Path) -> list[Event]:
        try:
            status = log.stat()
        except FileNotFoundError:  # a run that starts clears away those that are done
            return []
        stamp = (status.st_size, status.st_mtime)
        if log not in self._seen or self._seen[log][0] != stamp:
            self._seen[log] = (stamp, read_events(log))
        return self._seen[log][1]


def main() -> int:
    """Show how training stands until Ctrl+C or q; return the exit code."""
    console, logs = Console(), Logs()
    if not console.is_terminal:
        console.print(view(logs.read(), console.size, live=False))
        return 0
    try:
        with _leaving() as asked, Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(view(logs.read(), console.size, live=True), refresh=True)
                if asked(REFRESH_SECONDS):
                    return 0
    except KeyboardInterrupt:
        return 0


@contextmanager
def _leaving() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits so many seconds and returns whether the user asked to leave.

    Under `make`, a Ctrl+C that becomes a signal goes to make as well, which then ends with an error. So the terminal is
    told to hand Ctrl+C over as a character while the block runs.
    """
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield _wait
        return
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ICANON | termios.ECHO)
    quiet[6][termios.VINTR] = os.fpathconf(terminal, "PC_VDISABLE").to_bytes(1, "little")
    signal.signal(signal.SIGTERM, _end)
    termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
    try:
        yield lambda seconds: _key(terminal, seconds) in LEAVE
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _key(terminal: int, seconds: float) -> bytes:
    """Return a key that is pressed within so many seconds, else nothing."""
    ready, _, _ = select.select([terminal], [], [], seconds)
    if not ready:
        return b""
    pressed = os.read(terminal, 1)
    return pressed or LEAVE[0]  # the terminal is gone


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)  # so that the terminal is put back


if __name__ == "__main__":
    sys.exit(main())
