"""The look of every plot, and how a plot is saved as a PNG file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE = 2  # pixels in the file per pixel on the page
INK, MUTED, GRID, PAPER = "#1f2933", "#66727f", "#e4e8ec", "#ffffff"
# Distinguishable with all common kinds of color blindness, and dark enough for text.
TRAINING, VALIDATION = "#0072b2", "#d55e00"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
}

PALETTE_COLORS = 128  # enough for smooth edges
FEW_EPOCHS = 12  # up to this many, epochs are marked with dots too: a line needs two


def png_of(figure: Figure) -> bytes:
    """Return the figure as a PNG file with a palette, which takes a third of the bytes of a full-color one."""
    from PIL import Image

    pixels, content = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="rgba")
    size = figure.canvas.get_width_height()
    picture = Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")
    picture.quantize(PALETTE_COLORS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    return content.getvalue()
