"""Training batches. Each batch is a pure function of the tokens, the seed, the epoch and the step."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minimal_llm.common.errors import TrainingError
from minimal_llm.model.perplexity import as_indices
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import Ids, release

LISTED_WINDOWS = 1 << 20  # the order of more windows is computed instead of listed: their number would take memory
ROUNDS = 6  # of the network that computes it
SEARCHED_TOKENS = 1 << 20  # at a time

Positions = npt.NDArray[np.int64]


class TrainingBatches:
    """Windows of T tokens, in a different order in each epoch.

    They do not overlap: it would cost the same per window, but repeat tokens within an epoch. A random offset per
    epoch, less than T, moves the window borders, so that it is not always the same tokens that start without context.
    With `document_start`, the `<s>` of documents, a window begins instead where the document began that the one before
    it cut off, unless that is longer than T: the model sees stories from their beginning.
    """

    def __init__(self, tokens: Ids, batch_size: int, length: int, seed: int, document_start: int | None = None) -> None:
        """Take the tokens of the training split; `length` is T.

        Raises:
            TrainingError: there are fewer tokens than two windows.
        """
        self._tokens = tokens
        self._length = length
        self._seed = seed
        self._moves = document_start is None
        if document_start is None:
            self._starts = None
            self.windows = (len(tokens) - length) // length  # that fit at the largest offset
        else:
            self._starts = document_starts(tokens, length, document_start)
            self.windows = len(self._starts)
        if self.windows < 1:
            raise TrainingError(
                f"the corpus has {len(tokens)} training tokens, but train.max_seq_length = {length} needs {2 * length}",
                remedy="use a larger corpus or a smaller train.max_seq_length",
                kind="configuration",
            )
        self.batch_size = min(batch_size, self.windows)
        self.steps = self.windows // self.batch_size  # an incomplete batch is dropped, other windows in each epoch

    @property
    def tokens_per_step(self) -> int:
        """The number of tokens that a step predicts."""
        return self.batch_size * self._length

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (B, T) inputs and targets of each step of an epoch, starting with `first_step`.

        Targets are the inputs shifted by one token: each position predicts the next token.
        """
        generator = torch.Generator().manual_seed(derive_seed("batches", self._seed, epoch))
        offset = int(torch.randint(self._length, (), generator=generator)) * self._moves
        order = _order(self.windows, generator)
        within = np.arange(self._length)
        for step in range(first_step, self.steps):
            chosen = order(np.arange(step * self.batch_size, (step + 1) * self.batch_size))
            starts = chosen * self._length if self._starts is None else self._starts[chosen]
            positions = offset + starts[:, np.newaxis] + within  # (B, T)
            yield as_indices(self._tokens[positions]), as_indices(self._tokens[positions + 1])
            release(self._tokens)


def _order(windows: int, generator: torch.Generator) -> Callable[[Positions], Positions]:
    """Return the function from places in an epoch to the windows there."""
    if windows > LISTED_WINDOWS:
        return partial(permuted, size=windows, keys=torch.randint(2**62, (ROUNDS,), generator=generator).tolist())
    order = torch.randperm(windows, generator=generator).numpy()
    return lambda places: order[places]


def permuted(places: Positions, size: int, keys: Sequence[int]) -> Positions:
    """Return what a pseudorandom permutation of the numbers below `size` has in some places; the keys choose it.

    It is computed, not stored: a Feistel network, which permutes the numbers of an even number of bits, applied again
    to results that are not below `size` (Black and Rogaway 2002, method 3).
    """
    half = np.uint64((max(2, size - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = places.astype(np.uint64)
    outside = np.full(len(values), True)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ np.uint64(key)) & mask)
        values[outside] = left << half | right
        outside = values >= size
    return values.astype(np.int64)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # The output function of SplitMix64 (Steele, Lea and Flood 2014), modulo 2**64
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def document_starts(tokens: Ids, length: int, document_start: int) -> Positions:
    """Return where windows of `length` tokens begin so that each begins with the document that the last one cut off."""
    parts = range(0, max(1, len(tokens)), SEARCHED_TOKENS)
    documents = np.concatenate([np.flatnonzero(tokens[i : i + SEARCHED_TOKENS] == document_start) + i for i in parts])
    release(tokens)
    starts, start = array("q"), 0
    while start + length < len(tokens):
        starts.append(start)
        cut = int(documents[np.searchsorted(documents, start + length, side="right") - 1])
        start = cut if cut > start else start + length
    return np.array(starts)
