"""The loss of a run by epoch, and what the model wrote after some of them: what training does, at a glance."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from scripts.drawings.svg import Drawing, Theme, number

WIDTH, HEIGHT = 600, 508
LEFT, RIGHT, TOP, BOTTOM = 40, 486, 66, 232  # of the plot
CARDS, GUTTER = 286, 12  # y of the cards, and between them
PADDING, LINE = 12, 21
CHARACTERS, LINES = 22, 8  # of a sample
MARKED = (0.0, 0.21, 1.0)  # where in the run the samples are taken from

History = Mapping[int, Mapping[str, float]]  # the rows of history.csv by epoch


def read_samples(report: Path) -> dict[int, str]:
    """Return what the model wrote in English after each epoch, from the last table of data/report.md."""
    rows = [line.strip("| ").split(" | ") for line in report.read_text(encoding="utf-8").splitlines()]
    start = rows.index(["epoch", "English", "Spanish"])
    return {int(row[0]): row[1] for row in rows[start + 2 :] if len(row) == 3}


def draw(theme: Theme, history: History, samples: Mapping[int, str]) -> str:
    """Return the picture as SVG."""
    epochs = sorted(history)
    marked = [epochs[round(where * (len(epochs) - 1))] for where in MARKED]
    first, last = history[epochs[0]]["val_loss"], history[epochs[-1]]["val_loss"]
    picture = Drawing(
        theme,
        WIDTH,
        HEIGHT,
        "The loss by epoch, with samples",
        f"The validation loss falls from {first:.2f} to {last:.2f}. "
        + " ".join(f"After epoch {epoch} the model writes: {samples[epoch]} …" for epoch in marked),
    )
    picture.text(LEFT - 32, 24, "What training does", 18, weight=700)
    picture.text(LEFT - 32, 46, "loss by epoch, in nats per token; lower is better", 15, theme.muted)
    plot = _Plot(picture, history)
    plot.axes(skip=marked)
    plot.curve("train_loss", theme.blue, "training", 7)
    plot.curve("val_loss", theme.orange, "validation", -1)
    width = (WIDTH - 2 * GUTTER - 8) / len(marked)
    for place, epoch in enumerate(marked):
        left = 4 + place * (width + GUTTER)
        plot.leader(epoch, min(max(plot.x(epoch), left + 20), left + width - 20))
        _card(picture, left, width, epoch, history[epoch]["val_loss"], samples[epoch])
    return picture.svg()


class _Plot:
    """The curves. `x` and `y` turn an epoch and a loss into coordinates."""

    def __init__(self, picture: Drawing, history: History) -> None:
        self._picture, self._history = picture, history
        losses = [row[key] for row in history.values() for key in ("train_loss", "val_loss")]
        self._low, self._high = min(losses), max(losses)

    def x(self, epoch: int) -> float:
        first, last = min(self._history), max(self._history)
        return LEFT + (RIGHT - LEFT) * (epoch - first) / max(1, last - first)

    def y(self, loss: float) -> float:
        return TOP + (BOTTOM - TOP - 8) * (self._high - loss) / (self._high - self._low)

    def axes(self, skip: list[int]) -> None:
        """Draw the grid; epochs in `skip` have another label."""
        theme = self._picture.theme
        halves = [half / 2 for half in range(round(2 * self._low), round(2 * self._high) + 1)]
        for loss in halves:
            self._picture.path(f"M{LEFT} {number(self.y(loss))}H{RIGHT}", theme.line, 0.7)
            self._picture.text(LEFT - 8, self.y(loss) + 5, f"{loss:.1f}", 13, theme.muted, "end")
        for epoch in self._history:
            if epoch % 5 == 0 and epoch not in skip:
                self._picture.text(self.x(epoch), BOTTOM + 18, f"epoch {epoch}", 13, theme.muted, "middle")

    def curve(self, key: str, color: str, name: str, shift: float) -> None:
        points = [f"{number(self.x(epoch))} {number(self.y(row[key]))}" for epoch, row in self._history.items()]
        self._picture.path("M" + "L".join(points), color, 2.5)
        end = self._history[max(self._history)][key]
        self._picture.text(RIGHT + 12, self.y(end) + shift, name, 15, color, weight=700)

    def leader(self, epoch: int, target: float) -> None:
        """Draw a line from the curve at an epoch to the card below."""
        theme = self._picture.theme
        x, y = self.x(epoch), self.y(self._history[epoch]["val_loss"])
        bend = f"V{BOTTOM + 32}H{number(target)}" if target != x else ""
        self._picture.path(f"M{number(x)} {number(y)}{bend}V{CARDS}", theme.orange, 1.2, dashes="2 3")
        self._picture.dot(x, y, 5.5, theme.orange, theme.paper)


def _card(picture: Drawing, left: float, width: float, epoch: int, loss: float, sample: str) -> None:
    picture.box(left, CARDS, width, HEIGHT - CARDS - 4, radius=8)
    picture.text(left + PADDING, CARDS + 24, f"epoch {epoch}", 15, picture.theme.orange, weight=700)
    picture.text(left + width - PADDING, CARDS + 24, f"loss {loss:.2f}", 15, picture.theme.muted, "end")
    lines = textwrap.wrap(sample + " …", CHARACTERS)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], textwrap.shorten(" ".join(lines[LINES - 1 :]), CHARACTERS, placeholder=" …")]
    for row, line in enumerate(lines):
        picture.text(left + PADDING, CARDS + 50 + row * LINE, line, 15, family="serif")
