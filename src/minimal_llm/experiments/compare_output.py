"""What `make compare` shows: a table for the terminal and as Markdown, and the curves of the validation loss."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from minimal_llm.common.files import write_bytes, write_text
from minimal_llm.experiments.compare import SHAPES_TOKENS, Run, best_runs, differing, short_names
from minimal_llm.validation.report.markdown import escape, table
from minimal_llm.validation.report.plot_style import (
    FEW_EPOCHS,
    INK,
    MUTED,
    PAPER,
    SCALE,
    STYLE,
    TRAINING,
    VALIDATION,
    png_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("val_loss", "bits/byte", "gap", "best epoch", "minutes", "peak MB")
WIDTH, HEIGHT = 1080, 420  # of the picture, in the pixels of a page
COLOURS = (TRAINING, VALIDATION, "#00805a", "#a8429a", "#3aa6dd", "#b8860b", "#7a4a2b", INK)
GREY: dict[str, Any] = {"color": "#ccd3da", "linestyle": "-", "zorder": 2, "linewidth": 1.2}
LONGEST_NAME = 30  # characters in the legend and of a value in the table
SHORT_RUN_MINUTES = 3  # up to here seconds are drawn
LEAST_WIDTH = 12  # characters that a column of text keeps where the table is folded
PIPE_WIDTH = 160  # characters, where the output is no terminal
STATE_STYLES = {"failed": "red", "not run": "yellow", "no metrics": "yellow"}


@dataclass(frozen=True)
class Curve:
    """The validation loss of one run, or of several that are equal, after each epoch."""

    names: tuple[str, ...]
    losses: tuple[float, ...]
    minutes: tuple[float, ...]  # of training up to there; empty where they were not recorded

    @property
    def label(self) -> str:
        first = _shortened(self.names[0])
        match len(self.names):
            case 1:
                return first
            case 2 if len(first) + len(self.names[1]) <= LONGEST_NAME:
                return f"{first}, {self.names[1]}"
        return f"{first}, {len(self.names) - 1} equal"


def write_comparison(runs: Sequence[Run], folder: Path) -> None:
    """Print the table, and write compare.md and compare.png into a folder."""
    drawn = curves(runs)
    heads, rows = _cells(runs)
    notes = _notes(runs)
    picture = folder / "compare.png"
    if drawn:
        write_bytes(picture, draw_curves(drawn))
    else:
        picture.unlink(missing_ok=True)
        notes.append("No run has a history yet, so there is no picture.")
    write_text(folder / "compare.md", _markdown(heads, rows, notes, picture.name if drawn else ""))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(_table(runs, heads, rows, console))
    for note in notes:
        console.print(Text(note))
    console.print(Text(f"{folder / 'compare.md'}" + (f" · {picture}" if drawn else "")))


def curves(runs: Sequence[Run]) -> list[Curve]:
    """Return what is drawn, in the order of the runs; equal curves are one, under all their names."""
    names: dict[tuple[tuple[float, ...], tuple[float, ...]], list[str]] = {}
    for run in runs:
        if run.val_losses:
            names.setdefault((run.val_losses, run.epoch_minutes), []).append(run.name)
    return [Curve(tuple(called), losses, minutes) for (losses, minutes), called in names.items()]


def draw_curves(drawn: Sequence[Curve]) -> bytes:
    """Return a PNG with two panels: the validation losses against epochs and against time."""
    timed = [curve for curve in drawn if curve.minutes]
    short = max((curve.minutes[-1] for curve in timed), default=0.0) < SHORT_RUN_MINUTES
    with warnings.catch_warnings(), matplotlib.style.context(["default", STYLE]):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in a script without glyphs
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100 * SCALE, facecolor=PAPER)
        epochs, time = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.055, right=0.745, bottom=0.13, top=0.84, wspace=0.07)
        figure.text(20 / WIDTH, 1 - 16 / HEIGHT, "Validation loss", size=12, weight="bold", va="top")
        figure.text(20 / WIDTH, 1 - 36 / HEIGHT, "nats a token, lower is better", color=MUTED, va="top")
        styles = _line_styles(drawn)
        for curve, style in sorted(zip(drawn, styles, strict=True), key=lambda pair: pair[1]["zorder"]):
            _draw_line(epochs, range(1, len(curve.losses) + 1), curve, style)
            if curve.minutes:
                _draw_line(time, [m * 60 if short else m for m in curve.minutes], curve, style)
        epochs.set_xlabel("epoch")
        epochs.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        time.set_xlabel("seconds of training" if short else "minutes of training")
        time.set_xlim(left=0)
        if not timed:
            time.set_xticks([])
            time.text(0.5, 0.5, "no run recorded its times", color=MUTED, ha="center", transform=time.transAxes)
        _add_legend(figure, drawn, styles)
        return png_of(figure)


def _line_styles(drawn: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return how each curve is drawn: the best few in colour, with the workspace and the last commit; the rest grey."""
    first = [curve for curve in drawn if any(_is_committed(name) or name == "workspace" for name in curve.names)]
    chosen = [*first, *(curve for curve in drawn if curve not in first)][: len(COLOURS)]
    colours = iter(COLOURS)
    styles = []
    for place, curve in enumerate(drawn):
        if curve in chosen:
            dash = "--" if any(map(_is_committed, curve.names)) else "-"
            styles.append({"color": next(colours), "linestyle": dash, "zorder": 1000 - place, "linewidth": 2.0})
        else:
            styles.append(GREY)
    return styles


def _draw_line(axes: Axes, x: Sequence[float], curve: Curve, style: dict[str, Any]) -> None:
    marker = "o" if len(curve.losses) <= FEW_EPOCHS and style is not GREY else ""
    axes.plot(x, curve.losses, marker=marker, markersize=4, **style)


def _add_legend(figure: Figure, drawn: Sequence[Curve], styles: Sequence[dict[str, Any]]) -> None:
    entries = [(curve.label, style) for curve, style in zip(drawn, styles, strict=True) if style is not GREY]
    if others := len(drawn) - len(entries):
        entries.append((f"{others} more", GREY))
    lines = [Line2D([], [], **style) for _, style in entries]
    legend = figure.legend(lines, ["-"] * len(lines), loc="upper left", bbox_to_anchor=(0.752, 0.86), frameon=False)
    for text, (label, _) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)  # a name may hold dollar signs
        text.set_text(label)


def _cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table as plain text."""
    names = differing([run.parameters for run in runs])
    short = short_names(names)
    best = best_runs(runs)
    several_corpora = len({run.metrics["corpus"] for run in runs if run.metrics}) > 1
    heads = ["", "name", *(["corpus"] if several_corpora else []), *short.values(), *COLUMNS]
    rows = []
    for run in runs:
        corpus = [str(run.metrics.get("corpus", ""))] if several_corpora else []
        values = [_value(run.parameters[name]) if name in run.parameters else "" for name in names]
        rows.append(["*" if any(run is one for one in best) else "", run.name, *corpus, *values, *_figures(run)])
    return heads, rows


def _figures(run: Run) -> list[str]:
    """Return the cells below COLUMNS; a run without results has its state for the first."""
    if not run.metrics:
        return [run.state, *[""] * (len(COLUMNS) - 1)]
    seconds, peak = run.speed.get("total_seconds"), run.speed.get("peak_memory_mb")
    return [
        f"{run.val_loss:.3f}",
        f"{run.metrics['val_bits_per_byte']:.3f}",
        f"{run.metrics['gap']:.3f}",
        f"{run.metrics['best_epoch']}",
        f"{seconds / 60:.2f}" if seconds is not None else "",
        f"{peak:.0f}" if peak is not None else "",
    ]


def _table(runs: Sequence[Run], heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Table:
    """Return the table with a column a parameter or, where that is too wide, with one column for all of them."""
    wide = _rich_table(runs, heads, rows)
    if Measurement.get(console, console.options.update(max_width=10_000), wide).maximum <= console.width:
        return wide
    first, last = 2, len(heads) - len(COLUMNS)
    folded = []
    for row in rows:
        named = zip(heads[first:last], row[first:last], strict=True)
        folded.append([*row[:first], "\n".join(f"{head}={cell}" for head, cell in named), *row[last:]])
    return _rich_table(runs, [*heads[:first], "parameters", *heads[last:]], folded)


def _rich_table(runs: Sequence[Run], heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        broken = re.sub(r"(?<=[_/])| ", "\n", head)
        widest = max(len(line) for text in [broken, *(row[place] for row in rows)] for line in text.split("\n"))
        if place >= len(heads) - len(COLUMNS):
            grid.add_column(Text(broken), justify="right", no_wrap=True, min_width=widest)
        else:
            grid.add_column(Text(broken), overflow="fold", min_width=min(widest, LEAST_WIDTH))
    for run, row in zip(runs, rows, strict=True):
        style = STATE_STYLES.get(run.state, "dim") if run.state else "bold green" if row[0] else ""
        grid.add_row(*(Text(cell, style) for cell in row))
    return grid


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = ["*: the best"] if any(run.metrics for run in runs) else []
    notes += [f"{run.name} ({run.state}): {run.detail}" for run in runs if run.state]
    if untimed := [run.name for run in runs if run.val_losses and not run.epoch_minutes]:
        notes.append(f"Drawn against epochs only, as the times of their epochs were not recorded: {', '.join(untimed)}")
    if len(best_runs(runs)) > 1:
        keys = ", ".join(key for key in differing([run.parameters for run in runs]) if key.startswith(SHAPES_TOKENS))
        notes.append(
            f"Not all of these were measured on the same tokens ({keys or 'the corpus differs'}), so their losses do "
            "not compare across that; each kind has its own best. bits/byte compares where only the tokenizer differs."
        )
    return notes


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str], picture: str) -> str:
    alignment = "l" * (len(heads) - len(COLUMNS)) + "r" * len(COLUMNS)
    body = table(map(escape, heads), [map(escape, row) for row in rows], alignment)
    told = "".join(f"- {escape(note)}\n" for note in notes)
    shown = f"\n![Validation loss against epochs and against time]({picture})\n" if picture else ""
    return f"# Comparison\n\n{body}\n{told}{shown}"


def _is_committed(name: str) -> bool:
    return name.startswith("HEAD (")


def _value(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else _shortened(str(value))


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
