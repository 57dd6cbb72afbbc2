"""How far the experiments of a sweep are, from their live logs, on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live
from rich.text import Text

from minimal_llm.common.config import PARAMS, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.live_log import Event, live_logs, read_events
from minimal_llm.experiments.sweep.grid import identity

COLOURS = {"done": "green", "known": "green", "failed": "red", "queued": "dim"}


@dataclass(frozen=True)
class Row:
    """What is shown of an experiment. Losses in nats a token, times in seconds."""

    name: str
    state: str
    epoch: int = 0
    epochs: int = 0
    val_loss: float | None = None
    seconds_left: float | None = None

    def line(self, width: int) -> str:
        """Return the row as text, the name padded to `width`."""
        words = [f"{self.name:{width}}  {self.state:11}"]
        if self.epochs:
            words.append(f"epoch {self.epoch:>3}/{self.epochs}")
        if self.val_loss is not None:
            words.append(f"val {self.val_loss:.3f}")
        if self.seconds_left is not None:
            words.append(f"{_clock(self.seconds_left)} left")
        return "  ".join(words)


class LiveRuns:
    """The live logs below a checkpoint folder, each with the parameters of the experiment that writes it.

    A log names the parameters of training alone. Those of the tokenizer, say, are in the params.yaml of the copy of the
    repository in which the trainer works.
    """

    def __init__(self, checkpoints: Path, by_threads: bool) -> None:
        self._checkpoints, self._by_threads = checkpoints, by_threads
        self._identities: dict[tuple[Path, int], str] = {}  # by log and trainer: a trainer that ended has no folder

    def rows(self) -> dict[str, Row]:
        """Return a row, yet without a name, for each experiment that trains or has just trained, by its identity."""
        rows: dict[str, Row] = {}
        for log in live_logs(self._checkpoints):
            events = read_events(log)
            starts = [number for number, event in enumerate(events) if event["event"] == "start"]
            row = _row(events, starts[-1]) if starts else None
            which = self._identity(log, events[starts[-1]]["pid"]) if starts else ""
            if row and which:
                rows[which] = row
        return rows

    def _identity(self, log: Path, pid: int) -> str:
        if (log, pid) not in self._identities:
            try:
                params = Path(psutil.Process(pid).cwd()) / PARAMS
                self._identities[log, pid] = identity(parse_config(read_params(params), {}), self._by_threads)
            except (psutil.Error, ConfigurationError):  # it ended before it was seen, or is no trainer of ours
                return ""
        return self._identities[log, pid]


def _row(events: Sequence[Event], newest_start: int) -> Row | None:
    start, since = events[newest_start], events[newest_start:]
    epochs, steps = start["epochs"], start["steps_per_epoch"]
    best = min((event["val_loss"] for event in events if event["event"] == "epoch"), default=None)
    if since[-1]["event"] == "end" and since[-1]["state"] == "finished":
        return Row("", "validating", epochs, epochs, best)
    if since[-1]["event"] == "end" or not psutil.pid_exists(start["pid"]):  # it will be gone on with
        return None
    done = next((_steps_done(event, steps) for event in reversed(events) if event["event"] in ("step", "epoch")), 0)
    speed = next((event["tokens_per_s"] for event in reversed(since) if event["event"] == "step"), 0)
    left = (epochs * steps - done) * start["tokens_per_step"] / speed if speed else None
    return Row("", "training", min(epochs, done // steps + 1), epochs, best, left)


def _steps_done(event: Event, steps: int) -> int:
    """Return the steps of the run that are done when an epoch ends, or a step of it."""
    return int(event["epoch"] * steps if event["event"] == "epoch" else (event["epoch"] - 1) * steps + event["step"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """A line an experiment: drawn anew on a terminal, elsewhere printed when state or epoch change."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if sys.stdout.isatty() else None
        self._shown: dict[str, tuple[Any, ...]] = {}
        if self._live:
            self._live.start()

    def show(self, rows: Sequence[Row]) -> None:
        """Show the rows as they stand now."""
        width = max((len(row.name) for row in rows), default=0)
        if self._live:
            lines = [Text(row.line(width), style=COLOURS.get(row.state, "yellow"), no_wrap=True) for row in rows]
            self._live.update(Text("\n").join(lines), refresh=True)
            return
        for row in rows:
            key = (row.state, row.epoch)
            if self._shown.get(row.name) != key:
                self._shown[row.name] = key
                print(f"{time.strftime('%H:%M:%S')}  {row.line(width)}", flush=True)

    def close(self) -> None:
        """Leave what is shown as it is and hand the terminal back."""
        if self._live:
            self._live.stop()
            self._live = None


def results_table(rows: Mapping[str, float | None]) -> list[str]:
    """Return the experiments with their validation loss as lines, the best first."""
    width = max(map(len, rows), default=0)
    ranked = sorted(rows.items(), key=lambda item: float("inf") if item[1] is None else item[1])
    return [
        f"  {name:{width}}  {'no result' if loss is None else f'validation loss {loss:.3f}'}" for name, loss in ranked
    ]
