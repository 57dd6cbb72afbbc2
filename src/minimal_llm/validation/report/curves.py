"""The plots of a training run: loss, learning rate and gradient norm. Each function returns the bytes of a PNG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minimal_llm.validation.report.plot_style import FEW_EPOCHS, LIGHT, Theme, picture, png_of, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOW_HEIGHT = 260  # in pixels on the page
LINE_HEIGHT = 16  # of a label
THIN = 0.9  # the line of a value that changes from step to step
BASELINES = ("uniform", "unigram", "trigram")  # in the chart: the label of another would be in the way of these
SHOWN = 0.98  # of the gradient norms; much higher ones are marked at the upper edge
LAST_STEPS = 20  # whose mean is where the curve of a noisy value ends
EARLY = 0.1  # of the steps, in which the loss falls from that of a uniform guess, far above the rest

History = Sequence[Mapping[str, Any]]
Values = npt.NDArray[np.float64]
Steps = Mapping[str, Values]  # the columns of plots/steps.csv


def draw_loss(
    history: History, steps: Steps, best_epoch: float, baselines: Mapping[str, float], theme: Theme = LIGHT
) -> bytes:
    """Return a plot of the loss of every step and at every evaluation, by epoch, with baselines and the best epoch.

    The range is that of the curves and of the unigram baseline. The first steps may begin above it; baselines outside
    of it are told in the heading.
    """
    low, high = _range_of_losses(history, steps, baselines["unigram"])
    inside = [name for name in BASELINES if low <= baselines[name] <= high]
    outside = ", ".join(f"{name} {baselines[name]:.3f}" for name in BASELINES if name not in inside)
    subtitle = "nats per token, lower is better" + (f"; outside of the chart: {outside}" if outside else "")
    with picture(theme, "Loss", subtitle) as (figure, axes):
        last, space = history[-1], high - low
        _use_steps(axes, last["epoch"], "epoch")
        axes.set_ylim(low - 0.14 * space, high + 0.08 * space)  # room for the label of the best epoch, and of unigram
        epochs, curves = steps["step"] * last["epoch"] / last["step"], [steps["batch_loss"]]
        axes.plot(epochs, steps["batch_loss"], color=theme.muted, linewidth=THIN, alpha=0.75)
        ends = [("batch", float(steps["batch_loss"][-LAST_STEPS:].mean()), theme.muted)]
        evaluated, marker = [row["epoch"] for row in history], "o" if len(history) <= FEW_EPOCHS else ""
        for name, key, color in (
            ("training", "train_loss", theme.training),
            ("validation", "val_loss", theme.validation),
        ):
            losses = [row[key] for row in history]
            axes.plot(evaluated, losses, color=color, marker=marker, markersize=5)
            curves.append(np.interp(epochs, evaluated, losses))
            ends.append((name, losses[-1], color))
        for name in inside:
            _draw_baseline(axes, theme, name, baselines[name], epochs, np.stack(curves))
        _mark_best(axes, theme, best_epoch, next(row["val_loss"] for row in history if row["epoch"] == best_epoch))
        _name_ends(axes, ends)
        return png_of(figure)


def draw_learning_rate(steps: Steps, theme: Theme = LIGHT) -> bytes:
    """Return a plot of the learning rate of every step."""
    rates, last = steps["learning_rate"], steps["learning_rate"][-1]
    with picture(theme, "Learning rate", _per_step(steps), LOW_HEIGHT) as (figure, axes):
        _use_steps(axes, steps["step"][-1], "step")
        axes.plot(steps["step"], rates, color=theme.training)
        axes.set_ylim(0, 1.2 * rates.max())
        peak = int(rates.argmax())
        place, look = (steps["step"][peak], 1.04 * rates[peak]), {"va": "bottom", "weight": "bold"}
        write(axes, f"peak {rates[peak]:.2g}", place, "left", theme.training, **look)
        _name_ends(axes, [(f"{last:.2g}", last, theme.training)])
        return png_of(figure)


def draw_gradient_norm(steps: Steps, clip: float, theme: Theme = LIGHT) -> bytes:
    """Return a plot of the gradient norm of every step before clipping; that of clipped steps has another color."""
    norms, clipped = steps["gradient_norm"], steps["clipped"] >= 0.5  # of a mean over several steps, most of them
    high = float(np.quantile(norms, SHOWN))
    is_near = clip <= 3 * high
    high = 1.25 * max(high, clip if is_near else 0.0)
    threshold = f"dashed: clipping threshold {clip:g}" if is_near else f"clipping threshold {clip:g}, far above"
    highest = norms.max()
    outside = f"; ▲: up to {highest:,.0f}" if highest > high else ""
    subtitle = f"{_per_step(steps)}, before clipping; {threshold}{outside}"
    with picture(theme, "Gradient norm", subtitle, LOW_HEIGHT) as (figure, axes):
        _use_steps(axes, steps["step"][-1], "step")
        axes.set_ylim(0, high)
        axes.plot(steps["step"], norms, color=theme.training, linewidth=THIN)
        above_clip = np.where(clipped, norms, np.nan)
        axes.plot(steps["step"], above_clip, ".-", color=theme.validation, linewidth=THIN, markersize=1.5)
        above = steps["step"][norms > high]
        axes.plot(above, np.full(len(above), high), "^", color=theme.validation, markersize=4)
        if is_near:
            axes.axhline(clip, **theme.bound)
        names = [("clipped", (clip + high) / 2, theme.validation)] if clipped.any() and is_near else []
        if not clipped.all():
            names.append(("unclipped", min(clip, high) / 2, theme.training))
        _name_ends(axes, names)
        return png_of(figure)


def _per_step(steps: Steps) -> str:
    """Return what a point is: a step, or the mean of some."""
    count = round(steps["step"][1] - steps["step"][0]) if len(steps["step"]) > 1 else 1
    return "per step" if count == 1 else f"per step, each point the mean of {count:,}"


def _range_of_losses(history: History, steps: Steps, unigram: float) -> tuple[float, float]:
    batch = steps["batch_loss"][round(EARLY * len(steps["batch_loss"])) :]
    losses = [*(row[key] for row in history for key in ("train_loss", "val_loss")), unigram, batch.min(), batch.max()]
    return min(losses), max(losses)


def _use_steps(axes: Axes, last: float, unit: str) -> None:
    """Let the horizontal axis go from 0 to the last step or epoch."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-0.01 * last, 1.01 * last)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=last >= 2))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")


def _draw_baseline(axes: Axes, theme: Theme, name: str, loss: float, epochs: Values, curves: Values) -> None:
    """Draw a horizontal line, with its name above it at the end where fewer points of the curves are in the way."""
    (first, last), (low, high) = axes.get_xlim(), axes.get_ylim()
    width, height = 0.2 * (last - first), high - low
    behind = ((curves > loss - 0.02 * height) & (curves < loss + 0.08 * height)).any(0)
    left, right = (behind & (epochs < first + width)).sum(), (behind & (epochs > last - width)).sum()
    side, x = ("left", first) if left < right else ("right", last)
    axes.axhline(loss, **theme.bound)
    write(axes, f"{name} {loss:.3f}", (x, loss + 0.015 * height), side, theme.ink, va="bottom")


def _mark_best(axes: Axes, theme: Theme, epoch: float, loss: float) -> None:
    color = theme.validation
    axes.axvline(epoch, color=color, linewidth=1, linestyle=(0, (1, 2)))
    axes.plot([epoch], [loss], "o", color=color, markersize=7, markeredgecolor=theme.paper, markeredgewidth=1.5)
    side = "right" if epoch > sum(axes.get_xlim()) / 2 else "left"
    at_bottom = {"xycoords": ("data", "axes fraction"), "va": "bottom"}
    write(axes, f"best epoch {epoch:g}: {loss:.3f}", (epoch, 0.02), side, color, **at_bottom)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write the names of curves at the right edge, at the heights where they end, in their colors, without overlap."""
    low, high = axes.get_ylim()
    line = LINE_HEIGHT * (high - low) / axes.bbox.height * axes.figure.dpi / 100
    ordered = sorted(ends, key=lambda end: end[1])
    heights = [height for _, height, _ in ordered]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + line)
    shift = sum(height - end[1] for height, end in zip(heights, ordered, strict=True)) / len(ends)
    for (name, _, color), height in zip(ordered, heights, strict=True):
        write(axes, name, (axes.get_xlim()[1], height - shift), "left", color, weight="bold")
