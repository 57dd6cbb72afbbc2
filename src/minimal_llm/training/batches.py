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
    """Non-overlapping windows of T tokens, in a different order and with a different offset in each epoch.

    Overlapping windows would cost the same per window, but repeat tokens within an epoch. The random offset, less than
    T, moves the window borders, so that it is not always the same tokens that start a window without any context.
    """

    def __init__(self, tokens: Ids, batch_size: int, length: int, seed: int) -> None:
        """Take the tokens of the training split; `length` is T.

        Raises:
            TrainingError: there are fewer tokens than two windows.
        """
        self._tokens = torch.from_numpy(tokens.astype(np.int64))
        self._length = length
        self._seed = seed
        self.windows = (len(tokens) - length) // length  # as many as fit at the largest offset
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
        offset = int(torch.randint(self._length, (), generator=generator))
        order = torch.randperm(self.windows, generator=generator)
        span = self.windows * self._length
        inputs = self._tokens[offset : offset + span].view(self.windows, self._length)
        targets = self._tokens[offset + 1 : offset + 1 + span].view(self.windows, self._length)
        for step in range(first_step, self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield inputs[chosen], targets[chosen]
