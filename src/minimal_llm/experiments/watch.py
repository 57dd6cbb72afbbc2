"""`make watch`: how training is going, live, from another terminal. Ctrl+C leaves; without a terminal, it prints once.

It reads the live logs of the runs (common/live_log.py) and writes nothing: training does not know that it is watched.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.live_log import Event
from minimal_llm.common.signals import stop_signals
from minimal_llm.experiments.compare import differing, short_names
from minimal_llm.experiments.live_runs import STYLES, LiveRun, Row, duration, live_runs, table

REFRESH_SECONDS = 0.5
QUIT_KEYS = (b"\x03", b"q", b"Q")
BLOCKS = "▁▂▃▄▅▆▇█"
MAX_EPOCHS = 10  # rows in the table of epochs
OTHER_LINES = 13  # of the view, with two lines per sample and the line of the cursor
MAX_CURVE_EPOCHS = 48
SILENT_SECONDS = 30  # without an event before the view says so
NO_RUN = "No training has started here yet. In another terminal: make train, or make quick for a small run."


def watch() -> int:
    """Show how training is going until Ctrl+C or q; return the exit code."""
    console = Console()

    def current(live: bool) -> RenderableType:
        nested = [folder for pattern in ("*/checkpoints", "*/*/checkpoints") for folder in Path("runs").glob(pattern)]
        return view(live_runs([Artifacts().checkpoints, *nested]), console.size, live)

    if not console.is_terminal:
        console.print(current(live=False))
        return 0
    screen = Live(current(live=True), console=console, auto_refresh=False, vertical_overflow="crop")
    with suppress(KeyboardInterrupt), _keyboard() as wants_to_quit, screen:
        while not wants_to_quit(REFRESH_SECONDS):
            screen.update(current(live=True), refresh=True)
    return 0


@contextmanager
def _keyboard() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits this many seconds and returns whether the user asked to quit.

    Under `make`, a Ctrl+C that becomes a signal also reaches make, which then reports an error. So the terminal
    delivers Ctrl+C as a character inside the block.
    """
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield lambda seconds: bool(select.select([], [], [], seconds)[0])  # sleeps
        return
    import termios

    def quit_key(seconds: float) -> bool:
        ready, _, _ = select.select([terminal], [], [], seconds)
        return bool(ready) and os.read(terminal, 1) in (*QUIT_KEYS, b"")  # b"": the terminal is gone

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ICANON | termios.ECHO)
    quiet[6][termios.VINTR] = os.fpathconf(terminal, "PC_VDISABLE").to_bytes(1, "little")
    for number in set(stop_signals()) - {signal.SIGINT}:
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that the terminal is restored
    termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
    try:
        yield quit_key
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def view(runs: Sequence[LiveRun], size: ConsoleDimensions, live: bool) -> RenderableType:
    """Return what to show: the running or else the latest run in detail, or a list if several are running."""
    hint = "Ctrl+C leaves this view; training continues." if live else ""
    if not runs:
        return Group(Text(NO_RUN), Text(f"Waiting for a run to start. {hint}" if live else "", "dim"))
    running = [run for run in runs if run.state == "running"]
    if len(running) < 2:
        return _details(running[0] if running else runs[0], size, hint)
    since = min(run.start["time"] for run in running)
    listed = [*running, *(run for run in runs if run not in running and run.last["time"] > since)]
    names = short_names(differing([run.start["parameters"] for run in listed]))
    told = [" ".join(f"{names[key]}={run.start['parameters'][key]}" for key in names) for run in listed]
    rows = [Row(name or run.folder.name[:8], run.state, run) for name, run in zip(told, listed, strict=True)]
    return Group(table(rows, size.height), Text(hint, "dim"))


def _details(run: LiveRun, size: ConsoleDimensions, hint: str) -> RenderableType:
    resume = "To resume the run, repeat the command that started it, for example: make train"
    killed, failed = f"The process was killed. {resume}", "make status shows the error."
    told = {"killed": killed, "interrupted": resume, "failed": failed}.get(run.state, "")
    advice = textwrap.wrap(told, size.width)
    rows = max(1, min(MAX_EPOCHS, size.height - OTHER_LINES - len(advice)))
    since = time.strftime("%H:%M", time.localtime(run.start["time"]))
    origin = f"  pid {run.start['pid']}  since {since}  {run.folder.parent}"
    name, state = (f"run {run.folder.name[:8]}  ", "bold"), (run.state, STYLES[run.state])
    heading = Text.assemble(name, state, origin, no_wrap=True, overflow="ellipsis")
    parts: list[RenderableType] = [heading, *(Text(line, STYLES[run.state]) for line in advice)]
    (epoch, step), (done, total) = run.position, run.steps
    bar = ProgressBar(total=total, completed=done, width=max(10, min(size.width, 100) - 44))
    left = Text(f"epoch {epoch}/{run.all_epochs}")
    right = Text(f"step {step}/{run.start['steps_per_epoch']} {done / total:.0%}")
    parts += [Columns([left, bar, right]), Text(_current(run))]
    if run.epochs:
        best = min(run.epochs, key=lambda row: row["val_loss"])
        losses = [row["val_loss"] for row in run.epochs[-min(MAX_CURVE_EPOCHS, size.width - 32) :]]
        parts += [
            Text(""),
            Text.assemble("validation loss ", (sparkline(losses), "cyan"), f" best {best['val_loss']:.3f}"),
            _epoch_table(run.epochs[-rows:], best["epoch"]),
            Text(""),
            *(_sample(name, text, size.width) for name, text in run.epochs[-1]["samples"].items()),
        ]
    return Group(*parts, Text(hint, "dim"))


def _current(run: LiveRun) -> str:
    if run.state != "running":
        ended = time.strftime("%H:%M:%S", time.localtime(run.last["time"]))
        trained = duration(sum(row["seconds"] for row in run.epochs))
        return f"last event at {ended}; {run.steps[0]:,} steps done in {trained}"
    _, _, speed, left = Row(run.folder.name, run.state, run).cells()
    silent = time.time() - run.last["time"]
    parts = [f"loss {run.step['loss']:.3f}" if run.step else "", speed and f"{speed} tokens/s", left and f"{left} left"]
    parts += [f"no events for {duration(silent)}"] * (silent > SILENT_SECONDS)
    return "  ".join(filter(None, parts)) or "waiting for the first steps; torch.compile delays them"


def sparkline(values: Sequence[float]) -> str:
    """Return a small curve with one block per value; the highest value has the tallest block."""
    low, high = min(values), max(values)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def _epoch_table(rows: Sequence[Event], best_epoch: float) -> Table:
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("epoch", "train loss", "val loss", "", "learning rate", "seconds"):
        shown.add_column(head, justify="right" if head else "left")
    for row in rows:
        best = row["epoch"] == best_epoch
        cells = (f"{row['epoch']}", f"{row['train_loss']:.3f}", f"{row['val_loss']:.3f}", "best" if best else "")
        shown.add_row(*cells, f"{row['learning_rate']:.2e}", f"{row['seconds']:.1f}", style="green" if best else "")
    return shown


def _sample(language: str, text: str, width: int) -> Text:
    """Return what the model wrote, in at most two lines. It can write anything, terminal control codes included."""
    plain = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    lines = textwrap.wrap(f"{language}  {plain}", width - 1, subsequent_indent="    ", max_lines=2, placeholder=" …")
    return Text("\n".join(lines))
