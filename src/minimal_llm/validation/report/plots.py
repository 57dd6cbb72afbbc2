"""The plots of what was measured: bits per byte, latency and memory. Each function returns the bytes of a PNG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minimal_llm.inference.latency import Histogram, lower_edge, milliseconds
from minimal_llm.validation.report.plot_style import HEADING, LIGHT, Theme, picture, png_of, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, BAR = 42, 0.66  # pixels per row of bars, fraction of a row that a bar fills
ROW_NAME_WIDTH = 0.15  # fraction of the width
ROW_NAMES: dict[str, str] = {"en": "English", "es": "Spanish", "all": "both"}


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


def draw_bits_per_byte(bits: Mapping[str, float], theme: Theme = LIGHT) -> bytes:
    """Return a bar chart of the bits per byte in each language; the keys are those of ROW_NAMES."""
    colors = {"en": theme.english, "es": theme.spanish, "all": theme.muted}
    height = HEADING + ROW * len(bits) + 20
    with picture(theme, "Bits per byte", "of held-out text, lower is better", height, 20) as (figure, axes):
        _use_rows(figure, axes, theme, [ROW_NAMES[name] for name in bits])
        axes.barh(range(len(bits)), list(bits.values()), height=BAR, color=[colors[name] for name in bits])
        for row, value in enumerate(bits.values()):
            write(axes, f"{value:.3f}", (value, row), "left", theme.ink, weight="bold")
        axes.set_xlim(0, 1.1 * max(bits.values()))
        axes.xaxis.set_visible(False)  # each bar is labeled
        return png_of(figure)


def draw_latency(runtimes: Mapping[str, Latencies], theme: Theme = LIGHT) -> bytes:
    """Return the histograms of next-token latency of all runtimes, by name, stacked on a common axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    subtitle = "milliseconds per token, logarithmic scale"
    with picture(theme, "Next-token latency", subtitle, bottom=32, panels=len(runtimes)) as (figure, *panels):
        for axes, color, (name, latencies) in zip(panels, theme.runtimes, runtimes.items(), strict=False):
            edges = list(latencies.bins)
            axes.set_xscale("log")
            axes.stairs(list(latencies.bins.values()), [lower_edge(edges[0]), *edges], fill=True, color=color)
            axes.grid(visible=True, axis="x")
            axes.set_ylim(0, 1.5 * max(latencies.bins.values()))
            axes.set_yticks([0.6 * max(latencies.bins.values())], [name], weight="bold", color=theme.ink)
            axes.grid(visible=False, axis="y")
            _mark_percentile(axes, theme, latencies.p50, "p50", "right", "-")
            _mark_percentile(axes, theme, latencies.p95, "p95", "left", (0, (3, 2)))
        figure.subplots_adjust(left=ROW_NAME_WIDTH, right=0.965)
        first = min(min(latencies.bins) for latencies in runtimes.values())
        last = max(max(latencies.bins) for latencies in runtimes.values())
        last = max(1.1 * last, 4 * first)  # at least two ticks
        slowest = max(latencies.p95 for latencies in runtimes.values())
        panels[-1].set_xlim(first / 1.2, max(last, slowest * (last / first) ** 0.18))  # room for the label of a p95
        panels[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[-1].xaxis.set_minor_locator(LogLocator(subs=()))
        return png_of(figure)


def draw_memory(runtimes: Mapping[str, Memory], max_resident: float, max_peak: float, theme: Theme = LIGHT) -> bytes:
    """Return a bar chart of the resident and peak memory of each runtime, by name, with the budgets, all in MB."""
    height = HEADING + ROW * (len(runtimes) + 1) + 32
    same = all(_whole(memory.peak) == _whole(memory.resident) for memory in runtimes.values())
    subtitle = "resident memory in MB; the peak is the same" if same else "MB; solid: resident, pale: peak"
    with picture(theme, "Inference memory", subtitle, height, 32) as (figure, axes):
        _use_rows(figure, axes, theme, list(runtimes))
        for row, (memory, color) in enumerate(zip(runtimes.values(), theme.runtimes, strict=False)):
            axes.barh(row, memory.peak, height=BAR, color=color, alpha=0.35)
            axes.barh(row, memory.resident, height=BAR, color=color)
            resident, peak = _whole(memory.resident), _whole(memory.peak)
            text = peak if resident == peak else f"{resident}, peak {peak}"
            place, look = (max(memory.resident, memory.peak), row), {"weight": "bold", "bbox": theme.backed}
            write(axes, text, place, "left", theme.ink, **look)
        axes.set_xlim(0, 1.25 * max(max_resident, max_peak, *(memory.peak for memory in runtimes.values())))
        axes.set_ylim(len(runtimes) - 0.4, -1.3)  # room above the bars for the labels of the budgets
        axes.grid(visible=True, axis="x")
        sides = ("right", "left") if max_resident <= max_peak else ("left", "right")
        for budget, name, side in zip((max_resident, max_peak), ("resident", "peak"), sides, strict=True):
            axes.axvline(budget, **theme.bound)
            where = {"xycoords": ("data", "axes fraction"), "va": "top"}
            write(axes, f"{name} budget\n{budget:g} MB", (budget, 1), side, theme.ink, **where)
        return png_of(figure)


def _use_rows(figure: Figure, axes: Axes, theme: Theme, names: Sequence[str]) -> None:
    """Turn the vertical axis into named rows, one per bar, the first at the top."""
    figure.subplots_adjust(left=ROW_NAME_WIDTH, right=0.965)
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), names, weight="bold", color=theme.ink)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _mark_percentile(axes: Axes, theme: Theme, value: float, name: str, side: str, line: Any) -> None:
    axes.axvline(value, ymax=0.93, color=theme.ink, linewidth=1, linestyle=line)
    where = {"xycoords": ("data", "axes fraction"), "va": "top"}
    write(axes, f"{name} {milliseconds(value)}", (value, 0.95), side, theme.ink, **where)
