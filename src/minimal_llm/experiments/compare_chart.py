"""The chart of `make compare`: validation loss against epochs and against time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from minimal_llm.experiments.compare import Run
from minimal_llm.validation.report.plot_style import FEW_EPOCHS, LIGHT, SCALE, png_of

WIDTH, HEIGHT = 1080, 420  # in the pixels of a page
COLORS = (LIGHT.training, LIGHT.validation, "#00805a", "#a8429a", "#3aa6dd", "#b8860b", "#7a4a2b", LIGHT.ink)
LONGEST_NAME = 30  # characters


@dataclass(frozen=True)
class Curve:
    """The validation loss after each epoch of one run, or of several whose results are equal."""

    names: tuple[str, ...]
    losses: tuple[float, ...]
    minutes: tuple[float, ...]  # of training up to the end of each epoch; empty if they were not recorded

    @property
    def is_committed(self) -> bool:
        return any(name.startswith("HEAD (") for name in self.names)


def curves(runs: Sequence[Run]) -> list[Curve]:
    """Return the curves to draw in the order of the runs; equal ones become one curve with all their names."""
    names: dict[tuple[tuple[float, ...], tuple[float, ...]], list[str]] = {}
    for run in runs:
        seconds = run.speed.get("epoch_seconds", [])
        minutes = tuple(s / 60 for s in seconds) if len(seconds) == len(run.val_losses) else ()
        if run.val_losses:
            names.setdefault((run.val_losses, minutes), []).append(run.name)
    return [Curve(tuple(named), losses, minutes) for (losses, minutes), named in names.items()]


def draw_curves(drawn: Sequence[Curve]) -> bytes:
    """Return a PNG with two panels that share the loss axis. Equal curves give equal bytes."""
    with warnings.catch_warnings(), matplotlib.style.context(["default", LIGHT.style]):
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in a script without glyphs
        figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100 * SCALE, facecolor=LIGHT.paper)
        epochs, time = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.055, right=0.745, bottom=0.13, top=0.84, wspace=0.07)
        figure.text(20 / WIDTH, 1 - 16 / HEIGHT, "Validation loss", size=12, weight="bold", va="top")
        figure.text(20 / WIDTH, 1 - 36 / HEIGHT, "nats per token, lower is better", color=LIGHT.muted, va="top")
        lines = []
        for curve, style in _styled(drawn):
            lines += epochs.plot(range(1, len(curve.losses) + 1), curve.losses, **style)
            if curve.minutes:
                time.plot(curve.minutes, curve.losses, **style)
        epochs.set(xlabel="epoch")
        epochs.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        time.set(xlabel="minutes of training", xlim=(0, None))
        lines = lines[: len(COLORS) + 1]  # the first grey line stands for all of them
        legend = figure.legend(lines, ["-"] * len(lines), loc="upper left", bbox_to_anchor=(0.752, 0.86), frameon=False)
        names = [shortened(", ".join(curve.names)) for curve, _ in _styled(drawn)[: len(COLORS)]]
        for text, name in zip(legend.get_texts(), [*names, f"{len(drawn) - len(names)} more"], strict=False):
            text.set_parse_math(False)  # names are set here because they may hold dollar signs or start with "_"
            text.set_text(name)
        return png_of(figure)


def shortened(text: str) -> str:
    """Return a text cut to what fits into the legend and into a cell."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _styled(drawn: Sequence[Curve]) -> list[tuple[Curve, dict[str, Any]]]:
    """Return the curves with their styles: the workspace, the last commit (dashed) and the best others come first."""
    styled: list[tuple[Curve, dict[str, Any]]] = []
    for curve in sorted(drawn, key=lambda curve: not (curve.is_committed or "workspace" in curve.names)):
        style: dict[str, Any] = {"color": "#ccd3da", "linewidth": 1.2, "zorder": 2}
        if len(styled) < len(COLORS):
            style = {"color": COLORS[len(styled)], "linewidth": 2.0, "zorder": 1000 - len(styled), "markersize": 4}
            style["linestyle"] = "--" if curve.is_committed else "-"
            style["marker"] = "o" if len(curve.losses) <= FEW_EPOCHS else ""
        styled.append((curve, style))
    return styled
