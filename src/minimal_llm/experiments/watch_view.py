"""What `make watch` shows of the runs that it found. Plain events in, something that rich prints out."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import psutil
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minimal_llm.common.artifacts import DATA
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.live_log import Event
from minimal_llm.common.unfinished_runs import run_parameters
from minimal_llm.experiments.compare import differing, short_names
from minimal_llm.pipeline.overrides import settings

BLOCKS = "▁▂▃▄▅▆▇█"
MOST_EPOCHS = 10  # rows of the table of epochs
OTHER_LINES = 13  # of the view, with samples of two lines each and the line of the cursor
SPARKS = 48  # epochs in the small curve
SMOOTHED_EPOCHS = 3  # that the time left is reckoned from
SMOOTHED_STEPS = 10
SILENT_SECONDS = 30  # without an event are worth a word
STATE_STYLES = {"running": "green", "finished": "cyan", "interrupted": "yellow", "failed": "red", "killed": "red"}
NO_RUN = "No training has begun here yet. In another terminal: make train, or make quick for a small run."


@dataclass(frozen=True)
class WatchedRun:
    """A run as its log tells it: the newest start, all epochs, the newest step and the end, if there was one."""

    folder: Path
    start: Event
    epochs: tuple[Event, ...]
    steps: tuple[Event, ...]  # the last of the epoch at hand
    end: Event = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, events: Sequence[Event]) -> WatchedRun | None:
        """Return the run of a log, or None if the log has no start in it."""
        start: Event = {}
        end: Event = {}
        epochs: dict[int, Event] = {}
        steps: list[Event] = []
        for event in events:
            match event["event"]:
                case "start":
                    start, steps, end = event, [], {}
                case "step":  # a run that is gone on with may do an epoch once more
                    epochs = {number: row for number, row in epochs.items() if number < event["epoch"]}
                    steps = [*(s for s in steps[1 - SMOOTHED_STEPS :] if s["epoch"] == event["epoch"]), event]
                case "epoch":
                    epochs[event["epoch"]], steps = event, []
                case "end":
                    end = event
        return cls(folder, start, tuple(epochs.values()), tuple(steps), end) if start else None

    @property
    def state(self) -> str:
        """running, killed (the process is gone without a last word), or what the end says."""
        if self.end:
            return str(self.end["state"])
        return "running" if _lives(self.start["pid"], self.start["time"]) else "killed"

    @property
    def last_sign(self) -> float:
        """Seconds since 1970 of the newest event."""
        return float(max(e["time"] for e in (self.start, *self.epochs[-1:], *self.steps[-1:], self.end or self.start)))

    @property
    def position(self) -> tuple[int, int]:
        """The epoch at hand, from 1, and how many of its steps are done."""
        per_epoch: int = self.start["steps_per_epoch"]
        if self.steps:
            return self.steps[-1]["epoch"], self.steps[-1]["step"]
        done = self.epochs[-1]["epoch"] if self.epochs else 0
        return (done, per_epoch) if done == self.start["epochs"] else (done + 1, 0)

    @property
    def steps_done(self) -> int:
        epoch, step = self.position
        return (epoch - 1) * int(self.start["steps_per_epoch"]) + step

    @property
    def steps_in_all(self) -> int:
        return int(self.start["epochs"] * self.start["steps_per_epoch"])

    @property
    def tokens_per_s(self) -> float | None:
        """Training tokens a second of late; None before the first second is over."""
        if self.steps:
            return float(median(step["tokens_per_s"] for step in self.steps))
        if not self.epochs:
            return None
        return float(self.start["steps_per_epoch"] * self.start["tokens_per_step"] / self.epochs[-1]["seconds"])

    @property
    def seconds_left(self) -> float | None:
        """How long it will still train; None before anything is known of its speed."""
        if self.epochs:
            step = mean(e["seconds"] for e in self.epochs[-SMOOTHED_EPOCHS:]) / self.start["steps_per_epoch"]
        elif self.tokens_per_s:
            step = self.start["tokens_per_step"] / self.tokens_per_s
        else:
            return None
        return float((self.steps_in_all - self.steps_done) * step)

    @property
    def best(self) -> Event | None:
        """The epoch with the lowest validation loss."""
        return min(self.epochs, key=lambda row: row["val_loss"], default=None)


def view(runs: Sequence[WatchedRun], size: ConsoleDimensions, live: bool) -> RenderableType:
    """Return what is to be seen: the running run or the newest one, or a line each where several are running."""
    hint = "Ctrl+C leaves this view; training goes on without it." if live else ""
    if not runs:
        return Group(Text(NO_RUN), Text(f"This view waits for it. {hint}" if live else "", "dim"))
    running = [run for run in runs if run.state == "running"]
    if len(running) > 1:
        since = min(run.start["time"] for run in running)
        listed = [*running, *(run for run in runs if run not in running and run.last_sign > since)]
        return Group(_list(listed, size), Text(hint, "dim"))
    return _one(running[0] if running else runs[0], size, hint)


def resume_command(run: WatchedRun) -> str:
    """Return the command that goes on with a run that did not end, or words for it."""
    outputs = run.folder.parent.parent
    if outputs != DATA:
        return "make quick" if outputs == Path("runs/quick") else "the command that it was started with"
    wanted = run.start["parameters"]
    try:
        here = run_parameters(load_config())
        changed = [key for key, value in wanted.items() if here.get(key, value) != value]
        if not changed:
            return "make train"
        words = settings(load_config(overrides={key: wanted[key] for key in changed}), changed)
    except ConfigurationError:  # params.yaml cannot be read: make train says what is wrong with it
        return "make train"
    return shlex.join(["dvc", "exp", "run", *words])


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 45 s, 5 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def sparkline(values: Sequence[float]) -> str:
    """Return a small curve, one block a value, the highest value the highest block."""
    low, high = min(values), max(values)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def _one(run: WatchedRun, size: ConsoleDimensions, hint: str) -> RenderableType:
    next_lines = [Text(line, STATE_STYLES[run.state]) for line in _what_next(run, size.width)]
    rows = max(1, min(MOST_EPOCHS, size.height - OTHER_LINES - len(next_lines)))
    parts: list[RenderableType] = [_heading(run, size.width), *next_lines, _progress(run, size.width), _now(run)]
    if run.epochs:
        best = run.best or run.epochs[-1]
        losses = [row["val_loss"] for row in run.epochs[-min(SPARKS, size.width - 32) :]]
        parts += [
            Text(""),
            Text.assemble("validation loss ", (sparkline(losses), "cyan"), f" best {best['val_loss']:.3f}"),
            _epoch_table(run, run.epochs[-rows:]),
            Text(""),
            *(_sample(name, text, size.width) for name, text in run.epochs[-1]["samples"].items()),
        ]
    parts.append(Text(hint, "dim"))
    return Group(*parts)


def _heading(run: WatchedRun, width: int) -> Text:
    since = time.strftime("%H:%M", time.localtime(run.start["time"]))
    heading = Text.assemble((f"run {run.folder.name[:8]}", "bold"), "  ", (run.state, STATE_STYLES[run.state]))
    heading.append(f"  pid {run.start['pid']}  since {since}  {run.folder.parent}")
    heading.truncate(width - 1, overflow="ellipsis")
    return heading


def _what_next(run: WatchedRun, width: int) -> list[str]:
    """Return lines on a run that ended before its time."""
    match run.state:
        case "killed":
            told = f"Its process is gone and left no last word. It goes on with: {resume_command(run)}"
        case "interrupted":
            told = f"It goes on with: {resume_command(run)}"
        case "failed":
            told = "make status says why."
        case _:
            return []
    return textwrap.wrap(told, width, break_on_hyphens=False)


def _progress(run: WatchedRun, width: int) -> Table:
    epoch, step = run.position
    line = Table.grid(padding=(0, 1), expand=False)
    share = run.steps_done / run.steps_in_all
    line.add_row(
        f"epoch {epoch}/{run.start['epochs']}",
        ProgressBar(total=run.steps_in_all, completed=run.steps_done, width=max(10, min(width, 100) - 44)),
        f"step {step}/{run.start['steps_per_epoch']}",
        f"{share:.0%}",
    )
    return line


def _now(run: WatchedRun) -> Text:
    if run.state != "running":
        ended = time.strftime("%H:%M:%S", time.localtime(run.last_sign))
        trained = sum(row["seconds"] for row in run.epochs)
        return Text(f"last sign at {ended}; epochs that are done: {len(run.epochs)}, in {duration(trained)}")
    parts = [f"loss {run.steps[-1]['loss']:.3f}"] if run.steps else []
    if run.tokens_per_s:
        parts.append(f"{run.tokens_per_s:,.0f} tokens/s")
    if run.seconds_left is not None:
        parts.append(f"{duration(run.seconds_left)} left")
    silent = time.time() - run.last_sign
    if silent > SILENT_SECONDS:
        parts.append(f"no news for {duration(silent)}")
    return Text("  ".join(parts) or "the first steps are on their way; with torch.compile they take a while")


def _epoch_table(run: WatchedRun, rows: Sequence[Event]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("epoch", "train loss", "val loss", "", "learning rate", "seconds"):
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        is_best = run.best is not None and row["epoch"] == run.best["epoch"]
        cells = (f"{row['epoch']}", f"{row['train_loss']:.3f}", f"{row['val_loss']:.3f}", "best" if is_best else "")
        table.add_row(*cells, f"{row['learning_rate']:.2e}", f"{row['seconds']:.1f}", style="green" if is_best else "")
    return table


def _sample(language: str, text: str, width: int) -> Table:
    """Return what the model wrote, in two lines at most. It can write anything, also what a terminal would obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    line = Table.grid(padding=(0, 1))
    room = 2 * (width - 4) - 8  # words that do not fit at the end of the first line
    line.add_row(Text(language, "bold"), Text(plain if len(plain) <= room else plain[: room - 1] + "…"))
    return line


def _list(runs: Sequence[WatchedRun], size: ConsoleDimensions) -> Table:
    """Return a line a run: what sets it apart, how far it is, how good it is, how long it takes."""
    names = differing([run.start["parameters"] for run in runs])
    short = short_names(names)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
    for head in ("state", "epoch", "", "best val", "tokens/s", "left"):
        table.add_column(head, no_wrap=True, justify="left" if head in ("state", "") else "right")
    room = max(2, size.height - 4)
    for run in runs[:room]:
        told = " ".join(f"{short[name]}={_plain(run.start['parameters'][name])}" for name in names)
        is_running = run.state == "running"
        table.add_row(
            Text(told or run.folder.name[:8]),
            Text(run.state, STATE_STYLES[run.state]),
            f"{run.position[0]}/{run.start['epochs']}",
            ProgressBar(total=run.steps_in_all, completed=run.steps_done, width=10),
            f"{run.best['val_loss']:.3f}" if run.best else "",
            f"{run.tokens_per_s:,.0f}" if is_running and run.tokens_per_s else "",
            duration(run.seconds_left) if is_running and run.seconds_left is not None else "",
        )
    if len(runs) > room:
        table.caption = f"and {len(runs) - room} more"
    return table


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _lives(pid: int, since: float) -> bool:
    """Return whether the process that began to log then is still there; its number may belong to another by now."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.Error:
        return False
