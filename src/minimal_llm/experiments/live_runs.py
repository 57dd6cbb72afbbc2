"""Runs as their live logs describe them, and the table that lists several: for `make watch` and `make sweep`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minimal_llm.common.live_log import LOG_NAME, Event, read_events
from minimal_llm.common.system import is_alive

SMOOTHED_EPOCHS = 3  # used to estimate the time left
STYLES = dict.fromkeys(("running", "training", "validating", "starting"), "green") | {"queued": "dim"}
STYLES |= dict.fromkeys(("finished", "done", "known"), "cyan")
STYLES |= {"interrupted": "yellow", "failed": "red", "killed": "red"}


@dataclass(frozen=True)
class LiveRun:
    """A run according to its log. After a resume, evaluations that are repeated count once."""

    folder: Path
    start: Event  # the latest
    epochs: tuple[Event, ...]
    step: Event  # the latest since the last evaluation; empty if there is none yet
    last: Event

    @classmethod
    def of(cls, folder: Path, events: Sequence[Event]) -> LiveRun | None:
        """Return the run that a log describes, or None if the log has no start."""
        start: Event = {}
        step: Event = {}
        epochs: dict[int, Event] = {}  # evaluations, by their step
        for event in events:
            match event["event"]:
                case "start":
                    start, step = event, {}
                case "step":
                    epochs = {number: row for number, row in epochs.items() if number < event["step"]}
                    step = event
                case "epoch":
                    epochs[event["step"]], step = event, {}
        return cls(folder, start, tuple(epochs.values()), step, events[-1]) if start else None

    @property
    def state(self) -> str:
        """The state that the end reports; without an end: running, or killed if the process no longer exists."""
        if self.last["event"] == "end":
            return str(self.last["state"])
        return "running" if is_alive(self.start["pid"], self.start["time"]) else "killed"

    @property
    def position(self) -> tuple[int, int]:
        """The current epoch, from 1, and how many of its steps are done."""
        done, total = self.steps
        per_epoch: int = self.start["steps_per_epoch"]
        epoch = min(done, total - 1) // per_epoch
        return epoch + 1, done - epoch * per_epoch

    @property
    def steps(self) -> tuple[int, int]:
        """How many steps are done, and how many there are in all, as planned when the run started."""
        done = self.step["step"] if self.step else self.epochs[-1]["step"] if self.epochs else 0
        return done, max(done, self.start["total_steps"])

    @property
    def all_epochs(self) -> str:
        """How many epochs the run has: 20, or 1.5."""
        return f"{round(self.steps[1] / self.start['steps_per_epoch'], 2):g}"

    @property
    def tokens_per_s(self) -> float | None:
        """Recent training tokens per second; None during the first second."""
        if self.step or not self.epochs:
            return self.step.get("tokens_per_s")
        return float(self.start["tokens_per_step"] / self._step_seconds(self.epochs[-1:]))

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds of training left; None while the speed is unknown."""
        if self.epochs:
            step = self._step_seconds(self.epochs[-SMOOTHED_EPOCHS:])
        elif self.tokens_per_s:
            step = self.start["tokens_per_step"] / self.tokens_per_s
        else:
            return None
        done, total = self.steps
        return float((total - done) * step)

    def _step_seconds(self, latest: Sequence[Event]) -> float:
        """Return the mean time of a step up to the last of some evaluations, what came between the steps included."""
        before = self.epochs[-len(latest) - 1]["step"] if len(self.epochs) > len(latest) else 0
        return float(sum(row["seconds"] for row in latest) / max(1, latest[-1]["step"] - before))


def live_runs(roots: Iterable[Path]) -> list[LiveRun]:
    """Return all runs below folders of checkpoints that have started to train, the most recently active first."""
    found = []
    for log in [log for root in roots for log in root.glob(f"*/{LOG_NAME}")]:
        with suppress(FileNotFoundError):  # a run that starts deletes the folders of finished ones
            status = log.stat()
            found.append(_read(log, status.st_size, status.st_mtime_ns))
    return sorted(filter(None, found), key=lambda run: run.last["time"], reverse=True)


@lru_cache(maxsize=200)
def _read(log: Path, _size: int, _modified: int) -> LiveRun | None:
    return LiveRun.of(log.parent, read_events(log))


class Row(NamedTuple):
    """A line in a list of runs. `run` is None before it trains; `val_loss` overrides the best of its epochs."""

    name: str
    state: str
    run: LiveRun | None = None
    val_loss: float | None = None

    def cells(self) -> tuple[str, str, str, str]:
        """Return epoch, best validation loss, tokens per second and time left, each empty if unknown."""
        run = self.run
        losses = [row["val_loss"] for row in run.epochs] if run else []
        loss = min(losses, default=None) if self.val_loss is None else self.val_loss
        loss_cell = "" if loss is None else f"{loss:.3f}"
        epoch = f"{run.position[0]}/{run.all_epochs}" if run else ""
        if run is None or run.state != "running" or run.seconds_left is None:
            return epoch, loss_cell, "", ""
        return epoch, loss_cell, f"{run.tokens_per_s:,.0f}", duration(run.seconds_left)

    def __str__(self) -> str:
        epoch, loss, _, left = self.cells()
        parts = (self.name, self.state, epoch and f"epoch {epoch}", loss and f"val {loss}", left and f"{left} left")
        return "  ".join(filter(None, parts))


def table(rows: Sequence[Row], height: int) -> Table:
    """Return a table with a line per run, cut to a terminal of this height."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
    for head in ("state", "", "epoch", "best val", "tokens/s", "left"):
        shown.add_column(head, no_wrap=True, justify="left" if head in ("state", "") else "right")
    room = max(2, height - 4)
    for row in rows[:room]:
        done, total = row.run.steps if row.run else (0, 1)
        bar = ProgressBar(total=total, completed=done, width=10) if row.run else ""
        shown.add_row(Text(row.name), Text(row.state, STYLES[row.state]), bar, *row.cells())
    if len(rows) > room:
        shown.caption = f"and {len(rows) - room} more"
    return shown


def duration(seconds: float) -> str:
    """Return seconds in words: 45 s, 5 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
