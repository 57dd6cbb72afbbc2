"""Evaluation: loss, perplexity and bits per byte of a model on encoded text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minimal_llm.model.loss import summed_cross_entropy
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import Ids, Span, TokenFiles, release

# A batch has at most this many windows and, beyond one window, tokens: memory does not grow with the context length.
EVALUATION_WINDOWS = 32
EVALUATION_TOKENS = 4096
SAMPLED_WINDOWS = 512  # at a time
EXCERPT_TOKENS, STRETCH_TOKENS = 1 << 21, 1 << 12


@dataclass(frozen=True)
class Evaluation:
    """The summed loss in nats over a number of predicted tokens, and the size of their text in bytes."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): the model is as uncertain as a choice between this many equally likely tokens."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Bits needed to encode a byte of the text. Unlike the loss, comparable between tokenizers."""
        return self.nats / math.log(2) / self.bytes

    def __add__(self, other: Evaluation) -> Evaluation:
        return Evaluation(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


@torch.no_grad()
def evaluate(
    model: TinyTransformer, tokens: Ids, size_bytes: int = 0, dtype: torch.dtype = torch.float32
) -> Evaluation:
    """Return the evaluation of a model on at least two tokens; `size_bytes` is needed for bits_per_byte only.

    The text is cut into non-overlapping windows of the model's context length. Each window starts without context, so
    the loss is slightly higher than with a sliding window. All matmuls are in `dtype`, whatever the model trains in.
    """
    nats, count = 0.0, 0
    device = model.output_weight.device
    length = model.architecture.max_seq_length
    windows = max(1, min(EVALUATION_WINDOWS, EVALUATION_TOKENS // length))
    with model.matmuls_in(dtype):
        for inputs, targets in evaluation_batches(tokens, windows, length):
            hidden = model.hidden(inputs.to(device)).flatten(0, 1)  # (B * T, C)
            nats += summed_cross_entropy(hidden, model.output_weight, targets.to(device).flatten(), dtype)
            count += targets.numel()
    return Evaluation(nats, count, size_bytes)


def evaluate_spans(
    model: TinyTransformer, tokens: Ids, spans: tuple[Span, ...], dtype: torch.dtype = torch.float32
) -> dict[str, Evaluation]:
    """Return the evaluation of each language in a split, given its tokens and spans."""
    return {span.language: evaluate(model, span.of(tokens), span.bytes, dtype) for span in spans if span.tokens > 1}


def total(by_language: dict[str, Evaluation]) -> Evaluation:
    """Return the evaluation over all languages."""
    return sum(by_language.values(), Evaluation(0.0, 0, 0))


def evaluation_batches(tokens: Ids, batch_size: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, T) inputs and targets that predict every token except the first exactly once, in order.

    The last batch may have fewer windows. Tokens left over at the end follow as a single shorter window, (1, rest).
    """
    end = len(tokens) - 1
    span = end // length * length
    for first in range(0, span, batch_size * length):
        ids = as_indices(tokens[first : min(first + batch_size * length, span) + 1])
        release(tokens)
        yield ids[:-1].view(-1, length), ids[1:].view(-1, length)
    if span < end:
        ids = as_indices(tokens[span:])
        yield ids[:-1].unsqueeze(0), ids[1:].unsqueeze(0)


def as_indices(tokens: Ids) -> Tensor:
    """Return token ids as a tensor of integers that can index others, which takes four times the memory."""
    return torch.from_numpy(tokens.astype(np.int64))


def training_sample(tokens: Ids, size: int, length: int) -> Ids:
    """Return about `size` tokens: windows of `length` tokens, spread evenly over the training text."""
    windows = len(tokens) // length
    wanted = max(1, min(windows, size // length))
    chosen = np.arange(wanted) * windows // wanted
    whole = tokens[: windows * length].reshape(windows, length)
    sample = np.empty((wanted, length), tokens.dtype)
    for first in range(0, wanted, SAMPLED_WINDOWS):
        sample[first : first + SAMPLED_WINDOWS] = whole[chosen[first : first + SAMPLED_WINDOWS]]
        release(tokens)
    return sample.reshape(-1)


def excerpt(tokens: Ids) -> Ids:
    """Return token ids as they are or, of more than EXCERPT_TOKENS, so many: stretches spread evenly over the text."""
    return tokens if len(tokens) <= EXCERPT_TOKENS else training_sample(tokens, EXCERPT_TOKENS, STRETCH_TOKENS)


def measure_test(model: TinyTransformer, tokens: TokenFiles) -> Evaluation:
    """Return the evaluation of the test split, which nothing but the report looks at."""
    return total(evaluate_spans(model, tokens.ids["test"], tokens.meta.test))


def measure_losses(model: TinyTransformer, tokens: TokenFiles) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Return the evaluation of a training sample, and of the validation split by language.

    The sample is as large as the validation split, up to EXCERPT_TOKENS. Both are evaluated with the same weights and
    without dropout, so their difference, the gap, measures how much the model has memorized.
    """
    by_language = evaluate_spans(model, tokens.val, tokens.meta.val)
    size = min(len(tokens.val), EXCERPT_TOKENS)  # its windows are copied: memory must not grow with the corpus
    sample = training_sample(tokens.train, size, model.architecture.max_seq_length)
    return evaluate(model, sample), by_language
