"""Attention maps of a trained model: one head enlarged, with its weights, above a small map of every head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.drawings.svg import Drawing, Theme, number

WIDTH = 560
EDGE, NAMES = 4, 66  # the margin, and the room for the names of rows
TOP, CELL = 84, 30  # y of the enlarged map, and the height of its cells
GAP = 12  # between small maps
READABLE = 0.55  # opacity of a weight of 1 below a number, which has to be read
LEAST = 0.095  # the smallest weight that is written
LEVELS = 20  # of opacity in a small map: each is one path

Weights = Sequence[Sequence[float]]  # by position and earlier position


def draw(theme: Theme, inside: Mapping[str, Any], language: str) -> str:
    """Return the maps for the sentence in a language as SVG; `inside` is the content of inside.json."""
    sentence = inside["sentences"][language]
    tokens, layers = sentence["tokens"], sentence["weights"]
    best = max(inside["heads"], key=lambda head: float(head["previous"]))
    name = f"Layer {best['layer']}, head {best['head']}"
    share = f"{best['previous']:.0%} of the attention goes to the previous token"
    maps = _Maps(
        theme, tokens, layers, f"{name}: {share}, on average over validation text. The maps: “{sentence['text']}”"
    )
    maps.text(EDGE, 22, name, 17, weight=700)
    maps.text(EDGE, 46, f"On validation text, {share}.", 15, theme.muted)
    maps.enlarge(layers[best["layer"] - 1][best["head"] - 1])
    maps.all_heads(layers, (best["layer"] - 1, best["head"] - 1))
    return maps.svg()


class _Maps(Drawing):
    def __init__(self, theme: Theme, tokens: Sequence[str], layers: Sequence[Sequence[Weights]], text: str) -> None:
        self.tokens, heads = tokens, len(layers[0])
        self.size = (WIDTH - EDGE - NAMES - (heads - 1) * GAP) / heads / len(tokens)  # of a cell of a small map
        self.side = self.size * len(tokens)
        self.small = TOP + CELL * len(tokens) + 44  # y of the second heading
        height = self.small + 92 + len(layers) * (self.side + GAP)
        super().__init__(theme, WIDTH, height, "Attention in the trained model", text)

    def enlarge(self, weights: Weights) -> None:
        """Draw a map whose cells have room for their weight, in percent."""
        width = (WIDTH - EDGE - NAMES) / len(self.tokens)
        for place, token in enumerate(self.tokens):
            self.text(NAMES + (place + 0.5) * width, TOP - 8, token, 14, anchor="middle")
            self.text(NAMES - 8, TOP + place * CELL + 20, token, 14, anchor="end")
        for row, line in enumerate(weights):
            for column, weight in enumerate(line):
                x, y = NAMES + column * width, TOP + row * CELL
                area = f'x="{number(x)}" y="{y}" width="{number(width - 2)}" height="{CELL - 2}"'
                self.raw(f'<rect {area} fill="{self.theme.panel}"/>')
                self.raw(f'<rect {area} fill="{self.theme.blue}" fill-opacity="{number(READABLE * weight**0.5)}"/>')
                if weight >= LEAST:
                    self.text(x + width / 2 - 1, y + 20, f"{weight:.0%}", 14, anchor="middle")

    def all_heads(self, layers: Sequence[Sequence[Weights]], chosen: tuple[int, int]) -> None:
        """Draw the small maps, a row per layer, and a frame around the one that was enlarged."""
        self.text(EDGE, self.small, "All heads", 17, weight=700)
        top = self.small + 88
        for head in range(len(layers[0])):
            x = NAMES + head * (self.side + GAP)
            self.text(x + self.side / 2, self.small + 26, f"head {head + 1}", 14, self.theme.muted, "middle")
            for place, token in enumerate(self.tokens):
                self.text(x + (place + 0.5) * self.size + 4, top - 6, token, self.size, turn=-90)
        for layer, maps in enumerate(layers):
            y = top + layer * (self.side + GAP)
            self.text(EDGE + 12, y + self.side / 2, f"layer {layer + 1}", 14, self.theme.muted, "middle", turn=-90)
            for place, token in enumerate(self.tokens):
                self.text(NAMES - 6, y + (place + 0.5) * self.size + 4, token, self.size, anchor="end")
            for head, weights in enumerate(maps):
                self._small(weights, NAMES + head * (self.side + GAP), y, (layer, head) == chosen)

    def _small(self, weights: Weights, x: float, y: float, chosen: bool) -> None:
        self.box(x, y, self.side, self.side, edge=self.theme.orange if chosen else "none", radius=2)
        levels: dict[int, str] = {}
        for row, line in enumerate(weights):
            for column, weight in enumerate(line):
                level = round(LEVELS * weight**0.5)
                corner = f"M{number(column * self.size)} {number(row * self.size)}"
                side = number(self.size)
                levels[level] = levels.get(level, "") + f"{corner}h{side}v{side}h-{side}z"
        paths = (
            f'<path fill-opacity="{number(level / LEVELS)}" d="{cells}"/>' for level, cells in sorted(levels.items())
        )
        self.raw(f'<g fill="{self.theme.blue}" transform="translate({number(x)} {number(y)})">{"".join(paths)}</g>')
