"""The look of every plot, on light and on dark pages, its frame, and how it is saved as a PNG file.

The same data gives the same bytes: no dates, no user settings, and only the fonts that come with matplotlib.
matplotlib is imported by the first plot, so importing this module is cheap.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE = 2  # pixels in the file per pixel on the page
WIDTH, HEIGHT = 720, 360  # in pixels on the page; the files have SCALE times as many
HEADING = 60  # pixels above the axes


@dataclass(frozen=True)
class Theme:
    """The colors of a plot. Those of curves are dark or light enough for text, and distinct to color-blind readers."""

    ink: str
    muted: str
    grid: str
    paper: str
    training: str
    validation: str
    english: str
    spanish: str
    runtimes: tuple[str, str, str]

    @property
    def style(self) -> dict[str, Any]:
        """The settings of matplotlib."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": 9.5,
            "text.color": self.ink,
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.grid,
            "axes.labelcolor": self.muted,
            "axes.spines.left": False,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.8,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "xtick.minor.size": 0,
            "lines.linewidth": 2.2,
            "lines.solid_capstyle": "round",
        }

    @property
    def bound(self) -> dict[str, Any]:
        """The look of a line that marks a value to compare with."""
        return {"color": self.ink, "linewidth": 1, "linestyle": (0, (4, 3))}

    @property
    def backed(self) -> dict[str, Any]:
        """The box around text that a line may cross."""
        return {"facecolor": self.paper, "edgecolor": "none", "pad": 1.5}


LIGHT = Theme(
    ink="#1f2933",
    muted="#66727f",
    grid="#e4e8ec",
    paper="#ffffff",
    training="#0072b2",
    validation="#d55e00",
    english="#00805a",
    spanish="#a8429a",
    runtimes=("#243b53", "#486f94", "#8fabc6"),
)
DARK = Theme(
    ink="#e6edf3",
    muted="#9aa5b1",
    grid="#2a323c",
    paper="#0d1117",
    training="#56b4e9",
    validation="#f0883e",
    english="#2fb58a",
    spanish="#d98ace",
    runtimes=("#c6dbef", "#7fa8d1", "#4a749c"),
)
PALETTE_COLORS = 128  # enough for smooth edges
FEW_EPOCHS = 12  # up to this many, epochs are marked with dots too: a line needs two


@contextmanager
def picture(
    theme: Theme, title: str, subtitle: str, height: float = HEIGHT, bottom: float = 44, panels: int = 1
) -> Iterator[tuple[Any, ...]]:
    """Yield a figure with its title, and its axes from top to bottom; `bottom` is the margin below them, in pixels."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", theme.style]):  # ignore any matplotlibrc
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SCALE)
        axes = figure.subplots(panels, sharex=True, squeeze=False, gridspec_kw={"hspace": 0.12})[:, 0]
        figure.subplots_adjust(left=0.09, right=0.87, bottom=bottom / height, top=1 - HEADING / height)
        figure.text(20 / WIDTH, 1 - 16 / height, title, size=12, weight="bold", va="top")
        figure.text(20 / WIDTH, 1 - 36 / height, subtitle, color=theme.muted, va="top")
        yield figure, *axes


def write(axes: Axes, text: str, point: tuple[float, float], side: str, color: str, **options: Any) -> None:
    """Write text next to a point; `side` is the side of the text that faces the point."""
    options = {"va": "center", "annotation_clip": False, **options}
    shift = (6 if side == "left" else -6, 0)
    axes.annotate(text, point, xytext=shift, textcoords="offset points", ha=side, color=color, **options)


def png_of(figure: Figure) -> bytes:
    """Return the figure as a PNG file with a palette, which takes a third of the bytes of a full-color one."""
    from PIL import Image

    pixels, content = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="rgba")
    size = figure.canvas.get_width_height()
    picture = Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")
    picture.quantize(PALETTE_COLORS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    return content.getvalue()
