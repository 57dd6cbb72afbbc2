"""Training batches. Each batch is a pure function of the tokens, the seed, the epoch and the step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minimal_llm.common.errors import TrainingError
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import Ids


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
        self._tokens = torch.from_numpy(tokens.astype(np.int64))
        self._length = length
        self._seed = seed
        self._moves = document_start is None
        if document_start is None:
            self._starts = torch.arange((len(tokens) - length) // length) * length  # that fit at the largest offset
        else:
            self._starts = torch.tensor(document_starts(tokens, length, document_start))
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
        offset = torch.randint(self._length, (), generator=generator) * self._moves
        order = torch.randperm(self.windows, generator=generator)
        within = torch.arange(self._length)
        for step in range(first_step, self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            positions = offset + self._starts[chosen].unsqueeze(1) + within  # (B, T)
            yield self._tokens[positions], self._tokens[positions + 1]


def document_starts(tokens: Ids, length: int, document_start: int) -> list[int]:
    """Return where windows of `length` tokens begin so that each begins with the document that the last one cut off."""
    documents = np.flatnonzero(tokens == document_start)
    starts, start = [], 0
    while start + length < len(tokens):
        starts.append(start)
        cut = int(documents[np.searchsorted(documents, start + length, side="right") - 1])
        start = cut if cut > start else start + length
    return starts
