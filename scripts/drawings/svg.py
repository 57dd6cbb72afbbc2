"""Drawings as SVG: text that stays text, in generic fonts, and equal bytes for equal input.

A drawing is two files, NAME.svg and NAME-dark.svg, for the <picture> element of HTML. One file with a media query
in it would follow the system, and not the theme that a reader has chosen on GitHub or on the site of the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SERIF = "Georgia, 'Times New Roman', serif"


@dataclass(frozen=True)
class Theme:
    """The colours of a scheme. Those from `ink` to `purple` can be read as text on `paper` and on `panel`."""

    suffix: str  # of the file name
    paper: str
    panel: str
    line: str
    ink: str
    muted: str
    blue: str
    orange: str
    green: str
    purple: str


LIGHT = Theme("", "#ffffff", "#f4f6f8", "#c9d1d9", "#1f2933", "#57636f", "#0067a3", "#b04700", "#006d48", "#8b3a84")
DARK = Theme("-dark", "#0d1117", "#1a212a", "#424b56", "#e6edf3", "#a3adb8", "#6cb6ff", "#f0a36b", "#5bc99a", "#d6a2e8")
THEMES = (LIGHT, DARK)


class Drawing:
    """A picture that grows by shapes. Coordinates are in units of its view box, with y downwards."""

    def __init__(
        self, theme: Theme, width: float, height: float, title: str, description: str, style: str = ""
    ) -> None:
        self.theme, self.width, self.height = theme, width, height
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
            f'width="{number(width)}" height="{number(height)}" role="img" aria-labelledby="title description">\n'
            f'<title id="title">{escape(title)}</title>\n<desc id="description">{escape(description)}</desc>\n'
            f"<style>text{{font-family:{SANS};fill:{theme.ink}}}.serif{{font-family:{SERIF}}}"
            f".mono,.mono text{{font-family:{MONO}}}{style}</style>\n"
        )
        self._shapes: list[str] = []
        self.box(0, 0, width, height, fill=theme.paper, edge="none", radius=0)

    def svg(self) -> str:
        """Return the SVG file."""
        return self._head + "\n".join(self._shapes) + "\n</svg>\n"

    def raw(self, element: str) -> None:
        """Add an element that is written out."""
        self._shapes.append(element)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 15,
        fill: str = "",
        anchor: str = "start",
        weight: int = 400,
        family: str = "",
        turn: float = 0,
    ) -> None:
        """Write a line; y is its baseline. `family` is mono or serif, `turn` an angle in degrees."""
        attributes = {
            "x": number(x),
            "y": number(y),
            "font-size": number(size),
            "text-anchor": "" if anchor == "start" else anchor,
            "font-weight": "" if weight == 400 else str(weight),
            "class": family,
            "transform": f"rotate({number(turn)} {number(x)} {number(y)})" if turn else "",
        }
        style = f' style="fill:{fill}"' if fill else ""  # an attribute would lose against the style sheet
        self.raw(f"<text{_written(attributes)}{style}>{escape(text, quote=False)}</text>")

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = "", edge: str = "", radius: float = 6
    ) -> None:
        """Draw a rectangle; without colours, a panel with an edge."""
        attributes = {
            "x": number(x),
            "y": number(y),
            "width": number(width),
            "height": number(height),
            "rx": number(radius) if radius else "",
            "fill": fill or self.theme.panel,
            "stroke": "" if edge == "none" else edge or self.theme.line,
        }
        self.raw(f"<rect{_written(attributes)}/>")

    def path(self, points: str, edge: str = "", width: float = 1.5, fill: str = "none", dashes: str = "") -> None:
        """Draw a path, given in the language of SVG."""
        attributes = {
            "d": points,
            "fill": fill,
            "stroke": "" if edge == "none" else edge or self.theme.muted,
            "stroke-width": "" if edge == "none" else number(width),
            "stroke-dasharray": dashes,
            "stroke-linejoin": "" if edge == "none" else "round",
        }
        self.raw(f"<path{_written(attributes)}/>")

    def arrow(self, points: Sequence[tuple[float, float]], edge: str = "", width: float = 1.5, head: float = 5) -> None:
        """Draw a polyline with a head at its end; its last part is horizontal or vertical."""
        edge = edge or self.theme.muted
        (x0, y0), (x, y) = points[-2:]
        along = ((x > x0) - (x < x0), (y > y0) - (y < y0))
        base = (x - along[0] * 1.6 * head, y - along[1] * 1.6 * head)
        across = (along[1] * head * 0.8, along[0] * head * 0.8)
        line = [*points[:-1], base]
        self.path("M" + "L".join(f"{number(a)} {number(b)}" for a, b in line), edge, width)
        corners = [(x, y), (base[0] + across[0], base[1] + across[1]), (base[0] - across[0], base[1] - across[1])]
        self.path("M" + "L".join(f"{number(a)} {number(b)}" for a, b in corners) + "z", "none", fill=edge)

    def dot(self, x: float, y: float, radius: float, fill: str, edge: str = "none") -> None:
        """Draw a disc."""
        attributes = {
            "cx": number(x),
            "cy": number(y),
            "r": number(radius),
            "fill": fill,
            "stroke": "" if edge == "none" else edge,
            "stroke-width": "" if edge == "none" else "1.5",
        }
        self.raw(f"<circle{_written(attributes)}/>")


def number(value: float) -> str:
    """Return a coordinate with at most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _written(attributes: dict[str, str]) -> str:
    return "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
