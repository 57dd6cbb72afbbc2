"""TinyTransformer: the small modern decoder.

Pre-RMSNorm (Zhang and Sennrich 2019), rotary positions (Su et al. 2021), SwiGLU feed-forward (Shazeer 2020), no
biases, an output head that is not tied to the embedding: the layout of Llama, which many runtimes can load.

Letters in the shapes: B sequences, T positions, C = d_model, H heads, D = C / H, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROPE_BASE = 10000.0  # Su et al. 2021, section 3.2.2
NORM_EPSILON = 1e-5
INIT_STD = 0.02  # Radford et al. 2019 (GPT-2)


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shapes of the weights, and the context length that they were trained for."""

    vocab_size: int
    layers: int
    d_model: int
    heads: int
    feed_forward: int
    max_seq_length: int


class KVCache:
    """Keys and values of the positions seen so far, so that a new token costs one position, not all of them."""

    def __init__(self, architecture: Architecture, batch_size: int = 1) -> None:
        head_size = architecture.d_model // architecture.heads
        shape = (architecture.layers, batch_size, architecture.heads, architecture.max_seq_length, head_size)
        self.keys = torch.zeros(shape)  # (layers, B, H, max T, D)
        self.values = torch.zeros(shape)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H, T, D) keys and values of new positions; return those of all positions up to them."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Linear(nn.Linear):
    """A projection without bias: the weights are fp32, the product is taken and returned in `product_dtype`.

    torch.autocast would also move attention to bf16, whose kernel is twice as slow on a CPU without AMX.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.product_dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.product_dtype), self.weight.to(self.product_dtype))


class Dropout(nn.Module):
    """Zeroes a share of the numbers while training and scales the others up (Srivastava et al. 2014).

    One random byte decides over one number, so the share is rounded to 1/256: torch's own dropout draws from the
    generator for each number and took a tenth of a training step.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.threshold = round(share * 256)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view_as(x) >= self.threshold
        return x * kept * (256 / (256 - self.threshold))


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions."""

    def __init__(self, architecture: Architecture, dropout: float) -> None:
        super().__init__()
        self.heads = architecture.heads
        self.qkv = Linear(architecture.d_model, 3 * architecture.d_model)
        self.out = Linear(architecture.d_model, architecture.d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rotary: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        batch, length, width = x.shape  # (B, T, C)
        qkv = self.qkv(x).float().view(batch, length, 3, self.heads, width // self.heads)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (B, H, T, D)
        q, k = rotate(q, rotary), rotate(k, rotary)
        causal = length > 1
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (B, H, T, D)
        merged = mixed.transpose(1, 2).reshape(batch, length, width)  # (B, T, C)
        projected: Tensor = self.dropout(self.out(merged))
        return projected


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, architecture: Architecture, dropout: float) -> None:
        super().__init__()
        self.gate_up = Linear(architecture.d_model, 2 * architecture.feed_forward)
        self.down = Linear(architecture.feed_forward, architecture.d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (B, T, feed_forward)
        projected: Tensor = self.dropout(self.down(F.silu(gate) * up))
        return projected


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, architecture: Architecture, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.attention = Attention(architecture, dropout)
        self.feed_forward_norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(architecture, dropout)

    def forward(self, x: Tensor, rotary: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        # The residual stream x is fp32, whatever the branches return.
        x = x + self.attention(self.attention_norm(x), rotary, cache, layer)
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class TinyTransformer(nn.Module):
    """Token ids in, hidden states or logits of the next token out."""

    rotary: Tensor

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.d_model)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(architecture, dropout) for _ in range(architecture.layers))
        self.norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.head = Linear(architecture.d_model, architecture.vocab_size)
        rotary = rotary_table(architecture.max_seq_length, architecture.d_model // architecture.heads)
        self.register_buffer("rotary", rotary, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        # Projections that write into the residual stream start smaller, so that its variance does not grow with
        # the number of layers (Radford et al. 2019, section 2.3).
        residual_std = INIT_STD / math.sqrt(2 * self.architecture.layers)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                nn.init.normal_(parameter, std=residual_std)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=INIT_STD)

    def set_product_dtype(self, dtype: torch.dtype) -> None:
        """Take the matrix products of all layers in `dtype`; weights and everything else stay fp32."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.product_dtype = dtype

    def hidden(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the (B, T, C) states after the final norm for (B, T) token ids.

        With a cache, the tokens follow those that it holds. A cache that holds some takes one new token at a time.
        """
        start = cache.length if cache is not None else 0
        stop = start + tokens.shape[1]
        rotary = self.rotary[start:stop]
        x = self.dropout(self.embedding(tokens))  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotary, cache, layer)
        if cache is not None:
            cache.length = stop
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the (B, V) logits of the token that follows the last of (B, T)."""
        logits: Tensor = self.head(self.hidden(tokens, cache)[:, -1])
        return logits.float()


def rotary_table(length: int, head_size: int) -> Tensor:
    """Return (T, D/2) complex numbers of size 1: position p turns pair i by the angle p / base^(2i / D)."""
    frequencies = ROPE_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)  # (D/2,)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (T, D/2)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Return (..., T, D) queries or keys turned by their positions; pair i is (x[2i], x[2i + 1])."""
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))  # (..., T, D/2)
    return torch.view_as_real(pairs * rotary).flatten(-2)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())
