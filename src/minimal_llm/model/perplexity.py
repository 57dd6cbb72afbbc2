"""Loss, perplexity and bits per byte of a model on encoded text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minimal_llm.model.loss import summed_cross_entropy
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import Ids, Span, TokenFiles

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """A sum of losses in nats over some predicted tokens, and the bytes of text that they spell."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): as unsure as a choice among so many equally likely tokens."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for a byte of the text: unlike the loss, comparable between tokenizers."""
        return self.nats / math.log(2) / self.bytes

    def __add__(self, other: Evaluation) -> Evaluation:
        return Evaluation(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


@torch.no_grad()
def evaluate(
    model: TinyTransformer, tokens: Ids, size_bytes: int = 0, dtype: torch.dtype = torch.float32
) -> Evaluation:
    """Return the loss of a model on at least two tokens; `size_bytes` serves bits_per_byte alone.

    The text goes through in windows of the model's context length that do not overlap; each window starts with
    nothing before it, so the figure is a little higher than with a sliding window.
    """
    nats, count = 0.0, 0
    device = model.head.weight.device
    for inputs, targets in evaluation_batches(tokens, EVALUATION_BATCH, model.architecture.max_seq_length):
        hidden = model.hidden(inputs.to(device)).flatten(0, 1)  # (B * T, C)
        nats += summed_cross_entropy(hidden, model.head.weight, targets.to(device).flatten(), dtype)
        count += targets.numel()
    return Evaluation(nats, count, size_bytes)


def evaluate_spans(
    model: TinyTransformer, tokens: Ids, spans: tuple[Span, ...], dtype: torch.dtype = torch.float32
) -> dict[str, Evaluation]:
    """Return the evaluation of each language of one side of a corpus."""
    return {
        span.language: evaluate(model, tokens[span.first : span.first + span.tokens], span.bytes, dtype)
        for span in spans
        if span.tokens > 1
    }


def total(parts: dict[str, Evaluation]) -> Evaluation:
    """Return the sum of the evaluations of all languages."""
    return sum(parts.values(), Evaluation(0.0, 0, 0))


def evaluation_batches(tokens: Ids, batch_size: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, T) inputs and targets that predict every token but the first exactly once, in order.

    The last batch may hold fewer windows, and the tail that fills no window comes alone, as (1, rest).
    """
    ids = torch.from_numpy(tokens.astype(np.int64))
    windows = (len(ids) - 1) // length
    span = windows * length
    inputs, targets = ids[:span].view(windows, length), ids[1 : span + 1].view(windows, length)
    for first in range(0, windows, batch_size):
        yield inputs[first : first + batch_size], targets[first : first + batch_size]
    if span < len(ids) - 1:
        yield ids[span:-1].unsqueeze(0), ids[span + 1 :].unsqueeze(0)


def training_sample(tokens: Ids, size: int, length: int) -> Ids:
    """Return about `size` tokens in stretches of `length` spread evenly over all: to compare with validation."""
    stretches = len(tokens) // length
    wanted = max(1, min(stretches, size // length))
    chosen = np.arange(wanted) * stretches // wanted
    return tokens[: stretches * length].reshape(stretches, length)[chosen].reshape(-1)


def measure_losses(model: TinyTransformer, tokens: TokenFiles) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Return the evaluation of a sample of the training side as large as the validation side, and of the latter.

    Both with dropout off and the same weights, so that their difference is what the model learned by heart. It is
    larger than the gap of an epoch's record, whose training loss is a mean with dropout on, over weights that change.
    """
    parts = evaluate_spans(model, tokens.val, tokens.meta.val)
    sample = training_sample(tokens.train, len(tokens.val), model.architecture.max_seq_length)
    return evaluate(model, sample), parts
