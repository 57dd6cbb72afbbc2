"""The plots of the report card. Each function takes plain data and returns the bytes of a PNG file.

The same data gives the same bytes: no dates, no user settings, and only the fonts that come with matplotlib.
matplotlib is imported by the first plot, so importing this module is cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minimal_llm.inference.latency import Histogram, lower_edge, milliseconds
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
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LOW_HEIGHT = 720, 360, 260  # in pixels on the page; the files have SCALE times as many
HEADING, ROW, BAR = 60, 42, 0.66  # pixels above the axes, pixels per row of bars, fraction of a row that a bar fills
ROW_NAME_WIDTH = 0.15  # fraction of the width
LANGUAGE_COLORS = {"en": "#00805a", "es": "#a8429a", "all": MUTED}
ROW_NAMES: dict[str, str] = {"en": "English", "es": "Spanish", "all": "both"}
RUNTIME_COLORS = ("#243b53", "#486f94", "#8fabc6")
BOUND: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3))}
BACKED: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}  # for text that a line may cross

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Latencies:
    """Next-token latencies of a runtime: a histogram and two percentiles in milliseconds."""

    bins: Histogram
    p50: float
    p95: float


@dataclass(frozen=True)
class Memory:
    """Memory used by a runtime, in MB (10^6 bytes)."""

    resident: float
    peak: float


def draw_loss(history: History, best_epoch: float) -> bytes:
    """Return a plot of training and validation loss by epoch, with the best epoch marked."""
    with _picture("Loss", "nats per token, lower is better") as (figure, axes):
        _use_epochs(axes, history)
        for key, color in (("train_loss", TRAINING), ("val_loss", VALIDATION)):
            _draw_line(axes, history, key, color)
        best = next(row["val_loss"] for row in history if row["epoch"] == best_epoch)
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.14 * (high - low), high)  # room below the curves for the label of the best epoch
        axes.axvline(best_epoch, color=VALIDATION, linewidth=1, linestyle=(0, (1, 2)))
        axes.plot([best_epoch], [best], "o", color=VALIDATION, markersize=7, markeredgecolor=PAPER, markeredgewidth=1.5)
        side = "right" if best_epoch > (history[0]["epoch"] + history[-1]["epoch"]) / 2 else "left"
        at_bottom = {"xycoords": ("data", "axes fraction"), "va": "bottom"}
        _write(axes, f"best epoch {best_epoch}: {best:.3f}", (best_epoch, 0.02), side, VALIDATION, **at_bottom)
        last = history[-1]
        ends = {"training": (last["train_loss"], TRAINING), "validation": (last["val_loss"], VALIDATION)}
        _name_ends(axes, last["epoch"], ends)
        return png_of(figure)


def draw_learning_rate(history: History) -> bytes:
    """Return a plot of the learning rate at the end of each epoch."""
    with _picture("Learning rate", "at the end of each epoch", LOW_HEIGHT) as (figure, axes):
        _use_epochs(axes, history)
        _draw_line(axes, history, "learning_rate", TRAINING)
        axes.set_ylim(0, 1.08 * max(row["learning_rate"] for row in history))
        last = history[-1]["learning_rate"]
        _name_ends(axes, history[-1]["epoch"], {f"{last:.2g}": (last, TRAINING)})
        return png_of(figure)


def draw_gradient_norm(history: History, clip: float) -> bytes:
    """Return a plot of the mean gradient norm by epoch, with the clipping threshold where that is in range."""
    highest, last = max(row["gradient_norm"] for row in history), history[-1]["gradient_norm"]
    near = clip <= 3 * highest
    subtitle = "mean per epoch" + (f"; dashed: clipping threshold {clip:g}" if near else "")
    with _picture("Gradient norm", subtitle, LOW_HEIGHT) as (figure, axes):
        _use_epochs(axes, history)
        if near:
            axes.axhline(clip, **BOUND)
        _draw_line(axes, history, "gradient_norm", TRAINING)
        axes.set_ylim(0, 1.1 * max(highest, clip if near else 0))
        _name_ends(axes, history[-1]["epoch"], {f"{last:.2f}": (last, TRAINING)})
        return png_of(figure)


def draw_bits_per_byte(bits: Mapping[str, float]) -> bytes:
    """Return a bar chart of the bits per byte in each language; the keys are those of LANGUAGE_COLORS."""
    colors = [LANGUAGE_COLORS[name] for name in bits]
    height = HEADING + ROW * len(bits) + 20
    with _picture("Bits per byte", "on held-out text, lower is better", height, 20) as (figure, axes):
        _use_rows(figure, axes, [ROW_NAMES[name] for name in bits])
        axes.barh(range(len(bits)), list(bits.values()), height=BAR, color=colors)
        for row, value in enumerate(bits.values()):
            _write(axes, f"{value:.3f}", (value, row), "left", INK, weight="bold")
        axes.set_xlim(0, 1.1 * max(bits.values()))
        axes.xaxis.set_visible(False)  # each bar is labeled
        return png_of(figure)


def draw_latency(runtimes: Mapping[str, Latencies]) -> bytes:
    """Return the histograms of next-token latency of all runtimes, by name, stacked on a common axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    subtitle = "milliseconds, logarithmic scale"
    with _picture("Next-token latency", subtitle, bottom=32, panels=len(runtimes)) as (figure, *panels):
        for axes, color, (name, latencies) in zip(panels, RUNTIME_COLORS, runtimes.items(), strict=False):
            edges = list(latencies.bins)
            axes.set_xscale("log")
            axes.stairs(list(latencies.bins.values()), [lower_edge(edges[0]), *edges], fill=True, color=color)
            axes.grid(visible=True, axis="x")
            axes.set_ylim(0, 1.5 * max(latencies.bins.values()))
            axes.set_yticks([0.6 * max(latencies.bins.values())], [name], weight="bold", color=INK)
            axes.grid(visible=False, axis="y")
            _mark_percentile(axes, latencies.p50, "p50", "right", "-")
            _mark_percentile(axes, latencies.p95, "p95", "left", (0, (3, 2)))
        figure.subplots_adjust(left=ROW_NAME_WIDTH, right=0.965)
        first = min(min(latencies.bins) for latencies in runtimes.values())
        last = max(max(latencies.bins) for latencies in runtimes.values())
        panels[-1].set_xlim(first / 1.2, max(last, 4 * first) * 1.1)  # at least two ticks
        panels[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[-1].xaxis.set_minor_locator(LogLocator(subs=()))
        return png_of(figure)


def draw_memory(runtimes: Mapping[str, Memory], max_resident: float, max_peak: float) -> bytes:
    """Return a bar chart of the resident and peak memory of each runtime, by name, with the budgets, all in MB."""
    height = HEADING + ROW * (len(runtimes) + 1) + 32
    same = all(_whole(memory.peak) == _whole(memory.resident) for memory in runtimes.values())
    subtitle = "resident memory in MB; the peak is the same" if same else "MB; dark: resident, light: peak"
    with _picture("Inference memory", subtitle, height, 32) as (figure, axes):
        _use_rows(figure, axes, list(runtimes))
        for row, (memory, color) in enumerate(zip(runtimes.values(), RUNTIME_COLORS, strict=False)):
            axes.barh(row, memory.peak, height=BAR, color=color, alpha=0.35)
            axes.barh(row, memory.resident, height=BAR, color=color)
            resident, peak = _whole(memory.resident), _whole(memory.peak)
            text = peak if resident == peak else f"{resident}, peak {peak}"
            _write(axes, text, (max(memory.resident, memory.peak), row), "left", INK, weight="bold", bbox=BACKED)
        axes.set_xlim(0, 1.25 * max(max_resident, max_peak, *(memory.peak for memory in runtimes.values())))
        axes.set_ylim(len(runtimes) - 0.4, -1.3)  # room above the bars for the labels of the budgets
        axes.grid(visible=True, axis="x")
        sides = ("right", "left") if max_resident <= max_peak else ("left", "right")
        for budget, name, side in zip((max_resident, max_peak), ("resident", "peak"), sides, strict=True):
            axes.axvline(budget, **BOUND)
            where = {"xycoords": ("data", "axes fraction"), "va": "top"}
            _write(axes, f"{name} budget\n{budget:g} MB", (budget, 1), side, INK, **where)
        return png_of(figure)


@contextmanager
def _picture(
    title: str, subtitle: str, height: float = HEIGHT, bottom: float = 44, panels: int = 1
) -> Iterator[tuple[Any, ...]]:
    """Yield a figure with its title, and its axes from top to bottom; `bottom` is the margin below them, in pixels."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]):  # ignore any matplotlibrc
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SCALE, facecolor=PAPER)
        axes = figure.subplots(panels, sharex=True, squeeze=False, gridspec_kw={"hspace": 0.12})[:, 0]
        figure.subplots_adjust(left=0.09, right=0.87, bottom=bottom / height, top=1 - HEADING / height)
        figure.text(20 / WIDTH, 1 - 16 / height, title, size=12, weight="bold", va="top")
        figure.text(20 / WIDTH, 1 - 36 / height, subtitle, color=MUTED, va="top")
        yield figure, *axes


def _use_epochs(axes: Axes, history: History) -> None:
    """Put ticks at the first epoch and at round ones up to the last."""
    from matplotlib.ticker import MaxNLocator

    first, last = history[0]["epoch"], history[-1]["epoch"]
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (last - first) / step <= 9)
    axes.set_xticks([first, *(epoch for epoch in range(step, last + 1, step) if epoch > first + step / 2)])
    axes.set_xlim(first - max(0.02 * (last - first), 0.1), last + max(0.02 * (last - first), 0.1))
    axes.set_xlabel("epoch")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")


def _draw_line(axes: Axes, history: History, key: str, color: str) -> None:
    marker = "o" if len(history) <= FEW_EPOCHS else ""
    axes.plot(
        [row["epoch"] for row in history], [row[key] for row in history], color=color, marker=marker, markersize=5
    )


def _name_ends(axes: Axes, epoch: float, ends: Mapping[str, tuple[float, str]]) -> None:
    """Label one or two curves next to their last points, without overlap."""
    low, high = axes.get_ylim()
    label_x = epoch if epoch == 1 else axes.get_xlim()[1]  # a single point is in the middle
    ordered = sorted(ends.items(), key=lambda end: end[1][0])
    heights = [height for _, (height, _) in ordered]
    push = max(0.0, 0.08 * (high - low) - (heights[-1] - heights[0])) / 2 if len(heights) > 1 else 0.0
    for sign, (name, (height, color)) in zip((-1, 1), ordered, strict=False):
        _write(axes, name, (label_x, height + sign * push), "left", color, weight="bold")


def _use_rows(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Turn the vertical axis into named rows, one per bar, the first at the top."""
    figure.subplots_adjust(left=ROW_NAME_WIDTH, right=0.965)
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), names, weight="bold", color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _mark_percentile(axes: Axes, value: float, name: str, side: str, line: Any) -> None:
    axes.axvline(value, ymax=0.93, color=INK, linewidth=1, linestyle=line)
    where = {"xycoords": ("data", "axes fraction"), "va": "top"}
    _write(axes, f"{name} {milliseconds(value)}", (value, 0.95), side, INK, **where)


def _write(axes: Axes, text: str, point: tuple[float, float], side: str, color: str, **options: Any) -> None:
    """Write text next to a point; `side` is the side of the text that faces the point."""
    options = {"va": "center", "annotation_clip": False, **options}
    shift = (6 if side == "left" else -6, 0)
    axes.annotate(text, point, xytext=shift, textcoords="offset points", ha=side, color=color, **options)
