"""The drawing of the model: what model/transformer.py computes, with the sizes that params.yaml gives it."""

from __future__ import annotations

from scripts.drawings.svg import Drawing, Theme
from torch import nn

from minimal_llm.model.transformer import Architecture, Block, TinyTransformer, parameter_count

WIDTH, HEIGHT = 580, 1012
BLOCK_HEIGHT = 594
EDGE = 8  # from the frame of a block to the edge of the picture
STREAM = 116  # x of the residual stream
LEFT, RIGHT = 160, 424  # of the boxes of a block
NOTE = RIGHT + 8  # x of shapes beside the boxes
COUNT = WIDTH - 22  # x at which parameter counts end
ROW, GAP, BETWEEN = 34, 26, 8  # the height of a box, between rows, between boxes of a row
RADIUS = 11  # of + and x


def draw(theme: Theme, architecture: Architecture) -> str:
    """Return the drawing as SVG."""
    return _Picture(theme, architecture).svg()


class _Picture(Drawing):
    """The drawing. Each method draws a part from a height on and returns the height at which the next one begins."""

    def __init__(self, theme: Theme, architecture: Architecture) -> None:
        self.model, self.shape = TinyTransformer(architecture), architecture
        total = f"{parameter_count(self.model):,}"
        super().__init__(
            theme,
            WIDTH,
            HEIGHT,
            "The architecture of the model",
            f"Token ids become vectors in an embedding. {architecture.layers} blocks add to these vectors, each by "
            f"attention with {architecture.heads} heads and by a feed-forward network. A norm and the output head turn "
            f"them into logits. {total} parameters in all.",
        )
        stream = f"(B, T, {architecture.d_model})"
        self._legend(20)
        self.text(COUNT, 74, "parameters", 14, theme.blue, "end")
        y = self._station(12, "token ids", None)
        y = self._down(y, "(B, T)")
        size = f"{architecture.vocab_size:,} × {architecture.d_model}"
        y = self._station(y, f"embedding, {size}", self.model.embedding)
        y = self._down(y, stream, GAP + 22)
        y = self._block(y - 22, stream)
        if architecture.layers > 1:
            y = self._other_blocks(self._down(y, stream))
        y = self._station(self._down(y, stream), "RMSNorm", self.model.norm)
        y = self._down(y, stream)
        if self.model.head is None:
            self.text(COUNT, y + 22, "its weights are the embedding’s", 14, theme.muted, "end")
        size = f"{architecture.d_model} → {architecture.vocab_size:,}"
        y = self._station(y, f"head, {size}", self.model.head or self.model.embedding, self.model.head is None)
        y = self._down(y, f"(B, T, {architecture.vocab_size:,})")
        self._station(y, "logits of the next token", None)
        self.path(f"M{COUNT - 86} {y - 2}H{COUNT}", theme.blue, 1)
        self.text(COUNT, y + ROW / 2 + 5, total, 15, theme.blue, "end", 700)

    def _station(self, y: float, name: str, part: nn.Module | None, shared: bool = False) -> float:
        """A box on the stream: a part of the model, or what goes in and comes out."""
        self.box(EDGE, y, 2 * (STREAM - EDGE), ROW, fill=self.theme.paper if part is None else "")
        self.text(STREAM, y + 22, name, 15, anchor="middle")
        if part is not None and not shared:
            self._count(y, part)
        return y + ROW

    def _legend(self, y: float) -> None:
        """What the letters in the shapes mean."""
        for row, line in enumerate(
            (
                "B sequences in a batch",
                f"T tokens in each, {self.shape.max_seq_length} at most",
                f"{self.shape.d_model} dimensions per token",
            )
        ):
            self.text(256, y + 20 * row, line, 14, self.theme.muted)

    def _down(self, y: float, shape: str, height: float = GAP + 4) -> float:
        """An arrow along the stream, with the shape of what flows there."""
        self.arrow([(STREAM, y), (STREAM, y + height)], self.theme.ink, 2)
        self.text(STREAM + 12, y + 19, shape, 13, self.theme.muted, family="mono")
        return y + height

    def _block(self, y: float, stream: str) -> float:
        theme, top = self.theme, y
        block = next(part for part in self.model.blocks if isinstance(part, Block))
        self.box(EDGE, top, WIDTH - 2 * EDGE, BLOCK_HEIGHT, theme.paper, theme.line, 10)
        self.text(EDGE + 14, top + 25, "block 1", 15, weight=700)
        self.path(f"M{STREAM} {top}V{top + BLOCK_HEIGHT}", theme.ink, 2)
        self.text(STREAM - 10, top + 250, "residual stream", 14, theme.muted, "middle", turn=-90)
        self.text(LEFT, top + 25, "causal self-attention", 14, theme.muted)
        y = self._attention(top + 38, block)
        self.text(STREAM - 10, y + 17, stream, 13, theme.muted, "end", family="mono")
        self.text(LEFT, y + 40, "feed-forward network, SwiGLU", 14, theme.muted)
        self._feed_forward(y + 53, block)
        return top + BLOCK_HEIGHT

    def _attention(self, y: float, block: Block) -> float:
        branch = y
        y = self._row(y, ["RMSNorm"], block.attention_norm)
        y = self._row(self._fall(y, 1), ["query", "key", "value"], block.attention.qkv)
        heads, size = self.shape.heads, self.shape.d_model // self.shape.heads
        self._beside(y + 17, f"3 × (B, {heads}, T, {size})")
        width = (RIGHT - LEFT - 2 * BETWEEN) / 3
        rope = y + GAP
        for column in (0, 1):
            x = LEFT + width / 2 + column * (width + BETWEEN)
            self.arrow([(x, y), (x, rope)])
            self.arrow([(x, rope + ROW), (x, rope + ROW + GAP)])
        x = RIGHT - width / 2
        self.arrow([(x, y), (x, rope + ROW + GAP)])
        self.box(LEFT, rope, 2 * width + BETWEEN, ROW)
        self.text(LEFT + width + BETWEEN / 2, rope + 22, "RoPE: rotate by position", 14, anchor="middle")
        y = self._heads(rope + ROW + GAP)
        self._beside(y - 46, "weights")
        self._beside(y - 28, f"(B, {heads}, T, T)")
        return self._back(self._fall(y, heads, meet=True), "output", block.attention.out, branch)

    def _heads(self, y: float) -> float:
        """The attention heads, each with a triangle: a position sees itself and those before it."""
        heads = self.shape.heads
        width = (RIGHT - LEFT - (heads - 1) * BETWEEN) / heads
        for head in range(heads):
            x = LEFT + head * (width + BETWEEN)
            self.box(x, y, width, 74)
            cells, size = 5, 8
            left, top = x + (width - cells * size) / 2, y + 9
            for row in range(cells):
                for column in range(row + 1):
                    seen = (column == max(row - 1, 0), column == 0, False, column == row)[head % 4]
                    strength = 0.95 if seen else 0.5 if head % 4 == 2 else 0.2
                    self.raw(
                        f'<rect x="{left + column * size:g}" y="{top + row * size:g}" width="{size - 1}" '
                        f'height="{size - 1}" fill="{self.theme.orange}" fill-opacity="{strength}"/>'
                    )
            self.text(x + width / 2, y + 67, f"head {head + 1}", 13, anchor="middle")
        return y + 74

    def _feed_forward(self, y: float, block: Block) -> None:
        branch, middle = y, (LEFT + RIGHT) / 2
        hidden = self.shape.feed_forward
        y = self._row(y, ["RMSNorm"], block.feed_forward_norm)
        y = self._row(self._fall(y, 1), ["gate, then SiLU", "up"], block.feed_forward.gate_up)
        self._beside(y + 17, f"2 × (B, T, {hidden})")
        width = (RIGHT - LEFT - BETWEEN) / 2
        times = y + GAP
        for x, side in ((LEFT + width / 2, -1), (RIGHT - width / 2, 1)):
            self.arrow([(x, y), (x, times), (middle + side * RADIUS, times)])
        self._sign(middle, times, "×")
        self.arrow([(middle, times + RADIUS), (middle, times + GAP + 6)])
        self._beside(times + 19, f"(B, T, {hidden})")
        self._back(times + GAP + 6, "down", block.feed_forward.down, branch)

    def _row(self, y: float, names: list[str], part: nn.Module) -> float:
        """Boxes beside each other, which together are one part of the model."""
        width = (RIGHT - LEFT - (len(names) - 1) * BETWEEN) / len(names)
        for index, name in enumerate(names):
            x = LEFT + index * (width + BETWEEN)
            self.box(x, y, width, ROW)
            self.text(x + width / 2, y + 22, name, 15, anchor="middle")
        self._count(y, part)
        return y + ROW

    def _fall(self, y: float, columns: int, meet: bool = False) -> float:
        """An arrow down from a row, or from each of its columns to where they meet."""
        middle = (LEFT + RIGHT) / 2
        if meet:
            width = (RIGHT - LEFT - (columns - 1) * BETWEEN) / columns
            for column in range(columns):
                x = LEFT + width / 2 + column * (width + BETWEEN)
                self.path(f"M{x:g} {y}V{y + 9}H{middle:g}")
            self.arrow([(middle, y + 9), (middle, y + GAP)])
        else:
            self.arrow([(middle, y), (middle, y + GAP - 4)])
        return y + GAP - (0 if meet else 4)

    def _back(self, y: float, name: str, part: nn.Linear, branch: float) -> float:
        """The last box of a sublayer, whose output is added to the stream that `branch` left."""
        y = self._row(y, [f"{name}, {part.in_features} → {part.out_features}"], part)
        middle = y - ROW / 2
        self.arrow([(STREAM, branch + ROW / 2), (LEFT, branch + ROW / 2)])
        self.arrow([(LEFT, middle), (STREAM + RADIUS, middle)])
        self._sign(STREAM, middle, "+")
        return y

    def _sign(self, x: float, y: float, sign: str) -> None:
        self.dot(x, y, RADIUS, self.theme.paper, self.theme.ink)
        arms = f"M{x - 5:g} {y:g}h10M{x:g} {y - 5:g}v10" if sign == "+" else f"M{x - 4:g} {y - 4:g}l8 8m-8 0l8 -8"
        self.path(arms, self.theme.ink, 2)

    def _beside(self, y: float, shape: str) -> None:
        self.text(NOTE, y, shape, 12.5, self.theme.muted, family="mono")

    def _other_blocks(self, y: float) -> float:
        layers = self.shape.layers
        name = "block 2: the same" if layers == 2 else f"blocks 2 to {layers}: each the same"
        self.box(EDGE, y, WIDTH - 2 * EDGE, ROW + 4, self.theme.paper, self.theme.line, 10)
        self.text(EDGE + 14, y + 25, f"{name}, with weights of its own", 15, weight=700)
        self._count(y + 2, *self.model.blocks[1:])
        return y + ROW + 4

    def _count(self, y: float, *parts: nn.Module) -> None:
        count = sum(map(parameter_count, parts))
        self.text(COUNT, y + 22, f"{count:,}", 14, self.theme.blue, "end")
