"""TinyTransformer: a small decoder-only transformer with the architecture of Llama.

Token embedding, then blocks of causal self-attention and a feed-forward network, then an output head that predicts the
next token. Details: pre-RMSNorm (Zhang and Sennrich 2019), rotary position embeddings (Su et al. 2021), SwiGLU
(Shazeer 2020), no biases, and an output head that may share its weights with the embedding (Press and Wolf 2017).
Many runtimes can load a model like this.

Shapes: B sequences in a batch, T positions, C = d_model, H heads, D = C / H (head size), V vocabulary size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROPE_BASE = 10000.0  # Su et al. 2021, section 3.2.2
NORM_EPSILON = 1e-5
INIT_STD = 0.02  # Radford et al. 2019 (GPT-2)
# In positions. Up to this length, attention as plain matmuls takes half the time of the flash attention kernel.
LONGEST_PLAIN_ATTENTION = 256


@dataclass(frozen=True)
class Architecture:
    """Everything that determines the shapes of the weights, plus the context length that they were trained for."""

    vocab_size: int
    layers: int
    d_model: int
    heads: int
    feed_forward: int
    tie_embeddings: bool  # the output head is the embedding
    max_seq_length: int


class TinyTransformer(nn.Module):
    """Maps token ids to the logits of the next token."""

    rotary: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.d_model)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.layers))
        self.norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.head = None if architecture.tie_embeddings else Linear(architecture.d_model, architecture.vocab_size)
        self.matmul_dtype = torch.float32
        self.activation_checkpointing = False
        rotary = rotary_table(architecture.max_seq_length, architecture.d_model // architecture.heads)
        self.register_buffer("rotary", rotary, persistent=False)
        self._init_weights()

    def _init_weights(self) -> None:
        # Projections that add to the residual stream start smaller, so that its variance does not grow with the number
        # of layers (Radford et al. 2019, section 2.3).
        residual_std = INIT_STD / math.sqrt(2 * self.architecture.layers)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                nn.init.normal_(parameter, std=residual_std)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=INIT_STD)

    @property
    def output_weight(self) -> Tensor:
        """The (V, C) weights of the output head, one row per vocabulary entry."""
        return self.embedding.weight if self.head is None else self.head.weight

    def set_matmul_dtype(self, dtype: torch.dtype) -> None:
        """Compute the matmuls of all layers in `dtype`; weights and everything else stay fp32."""
        for module in self.modules():
            if isinstance(module, Linear | TinyTransformer):
                module.matmul_dtype = dtype

    @contextmanager
    def matmuls_in(self, dtype: torch.dtype) -> Iterator[None]:
        """Compute the matmuls of all layers in `dtype` within the block."""
        before = self.matmul_dtype
        self.set_matmul_dtype(dtype)
        try:
            yield
        finally:
            self.set_matmul_dtype(before)

    def hidden(self, tokens: Tensor, cache: KVCache | None = None, dropout: Tensor | None = None) -> Tensor:
        """Return the (B, T, C) hidden states after the final norm for (B, T) token ids.

        With a cache, `tokens` continue the cached sequence; unless the cache is empty, T must be 1. `dropout` holds the
        masks from `dropout_masks`; without it there is no dropout.
        """
        start = cache.length if cache is not None else 0
        stop = start + tokens.shape[1]
        rotary = self.rotary[start:stop]
        x = self.embedding(tokens)  # (B, T, C)
        if dropout is not None:
            x = x * dropout[0]
        for layer, block in enumerate(self.blocks):
            masks = None if dropout is None else dropout[1 + 2 * layer : 3 + 2 * layer]
            if self.activation_checkpointing and torch.is_grad_enabled():
                # Chen et al. 2016: only the input of a block is kept, and its backward pass computes the rest again.
                x = checkpoint(block, x, rotary, cache, layer, masks, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, rotary, cache, layer, masks)
        if cache is not None:
            cache.length = stop
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the (B, V) logits of the token that follows each of the (B, T) sequences."""
        last = self.hidden(tokens, cache)[:, -1]  # (B, C)
        return F.linear(last.to(self.matmul_dtype), self.output_weight.to(self.matmul_dtype)).float()


class Block(nn.Module):
    """A layer with two sublayers: x + attention(norm(x)), then x + feed_forward(norm(x)).

    While training, dropout is applied to the output of each sublayer.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.attention = Attention(architecture)
        self.feed_forward_norm = nn.RMSNorm(architecture.d_model, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(architecture)

    def forward(self, x: Tensor, rotary: Tensor, cache: KVCache | None, layer: int, dropout: Tensor | None) -> Tensor:
        # The residual stream x is fp32, whatever dtype the sublayers return.
        attended = self.attention(self.attention_norm(x), rotary, cache, layer)
        x = x + (attended if dropout is None else attended * dropout[0])
        fed = self.feed_forward(self.feed_forward_norm(x))
        out: Tensor = x + (fed if dropout is None else fed * dropout[1])
        return out


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary position embeddings."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.heads = architecture.heads
        self.qkv = Linear(architecture.d_model, 3 * architecture.d_model)
        self.out = Linear(architecture.d_model, architecture.d_model)

    def forward(self, x: Tensor, rotary: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        batch, length, width = x.shape  # (B, T, C)
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)  # (B, T, 3, H, D)
        q, k = rotate(qkv[:, :, :2], rotary).to(qkv.dtype).permute(2, 0, 3, 1, 4).unbind()  # each (B, H, T, D)
        v = qkv[:, :, 2].transpose(1, 2)  # (B, H, T, D)
        if cache is not None:
            q, (k, v) = q.float(), cache.extend(layer, k, v)
        output = attend(q, k, v).transpose(1, 2).reshape(batch, length, width)  # (B, T, C)
        projected: Tensor = self.out(output)
        return projected


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention, softmax(q k^T / sqrt(D)) v: a position attends to itself and to those before it.

    All of shape (B, H, T, D); or a single query, (B, H, 1, D), with the keys and values of all positions so far.
    """
    length = q.shape[2]
    if length == 1 or length > LONGEST_PLAIN_ATTENTION:
        # A single kernel that never materializes the T x T scores. On a CPU it is slower in bf16 than in fp32.
        if q.device.type == "cpu":
            q, k, v = q.float(), k.float(), v.float()
        return F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)  # (B, H, T, T)
    scores = scores + torch.full((length, length), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    return torch.softmax(scores, dim=-1) @ v


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.gate_up = Linear(architecture.d_model, 2 * architecture.feed_forward)
        self.down = Linear(architecture.feed_forward, architecture.d_model)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # each (B, T, feed_forward)
        projected: Tensor = self.down(F.silu(gate) * up)
        return projected


class Linear(nn.Linear):
    """A linear layer without bias: weights are fp32, the matmul and its output are in `matmul_dtype`.

    This replaces torch.autocast, which on a CPU would also move operations to bf16 that are slower there.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.matmul_dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.matmul_dtype), self.weight.to(self.matmul_dtype))


def rotary_table(length: int, head_size: int) -> Tensor:
    """Return (T, 1, 1, D/2) unit complex numbers: position p rotates pair i by the angle p / base^(2i / D)."""
    frequencies = ROPE_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)  # (D/2,)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (T, D/2)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)[:, None, None]


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Return (B, T, 2, H, D) queries and keys rotated by their positions, in fp32; pair i is (x[2i], x[2i + 1])."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))  # (B, T, 2, H, D/2)
    return torch.view_as_real(pairs * rotary).flatten(-2)


class KVCache:
    """Keys and values of the positions so far, so that generating a token only computes one new position."""

    def __init__(self, architecture: Architecture, batch_size: int = 1, device: torch.device | str = "cpu") -> None:
        head_size = architecture.d_model // architecture.heads
        shape = (batch_size, architecture.heads, architecture.max_seq_length, head_size)  # (B, H, max T, D)
        self._keys = [torch.zeros(shape, device=device) for _ in range(architecture.layers)]
        self._values = [torch.zeros(shape, device=device) for _ in range(architecture.layers)]
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H, T, D) keys and values of new positions; return the keys and values of all positions."""
        start, count = self.length, keys.shape[2]
        # narrow() takes a quarter of the time of slicing, and this runs several times per token
        self._keys[layer].narrow(2, start, count).copy_(keys)
        self._values[layer].narrow(2, start, count).copy_(values)
        return self._keys[layer].narrow(2, 0, start + count), self._values[layer].narrow(2, 0, start + count)


def dropout_masks(
    architecture: Architecture, tokens: torch.Size, rate: float, seed: int, dtype: torch.dtype, device: str = "cpu"
) -> Tensor | None:
    """Return dropout masks of shape (1 + 2 * layers, B, T, C) for a batch of shape `tokens`, or None for a rate of 0.

    One mask for the embedding and one for each sublayer (Srivastava et al. 2014). An element is 0 with probability
    `rate`, otherwise 1 / (1 - rate). One random byte decides one element, so the rate is rounded to a multiple of
    1/256: the dropout of torch, which draws from its generator for every element, took 10 % of a training step.
    """
    threshold = round(rate * 256)
    if threshold == 0:
        return None
    shape = (1 + 2 * architecture.layers, *tokens, architecture.d_model)
    drawn = random_bytes(shape, seed, device)
    # 0 or 1; via bool it takes 10 times as long
    kept = torch.ge(drawn, threshold, out=drawn.new_empty(shape, dtype=dtype))
    return kept.mul_(256 / (256 - threshold))


def random_bytes(shape: Sequence[int], seed: int, device: str = "cpu") -> Tensor:
    """Return uniform random bytes, drawn where they are used: the stream of a GPU differs from that of a CPU."""
    if device != "cpu":
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randint(256, tuple(shape), dtype=torch.uint8, device=device, generator=generator)
    words = np.random.SFC64(seed).random_raw(math.ceil(math.prod(shape) / 8))
    return torch.from_numpy(words.view(np.uint8)[: math.prod(shape)]).view(*shape)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
