"""Batches from token files. What a step trains on is a pure function of (tokens, seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minimal_llm.common.errors import TrainingError
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import Ids


class TrainingBatches:
    """Windows of T tokens that do not overlap, in another order and from another starting point each epoch.

    Overlapping windows would show the same token many times an epoch for the same cost each. The starting point, below
    T, moves the borders of the windows, so that no token is always the first of its window, with nothing before it.
    """

    def __init__(self, tokens: Ids, batch_size: int, length: int, seed: int) -> None:
        """Take the training side of a corpus.

        Raises:
            TrainingError: it holds less than two windows.
        """
        self._tokens = torch.from_numpy(tokens.astype(np.int64))
        self._length = length
        self._seed = seed
        self.windows = (len(tokens) - length) // length  # as many as there are from the last starting point
        if self.windows < 1:
            raise TrainingError(
                f"the corpus has {len(tokens)} training tokens, a window of train.max_seq_length needs {2 * length}",
                remedy="use a larger corpus or a smaller train.max_seq_length",
                kind="configuration",
            )
        self.batch_size = min(batch_size, self.windows)
        self.steps = self.windows // self.batch_size  # the windows left over are others each epoch

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a step predicts."""
        return self.batch_size * self._length

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (B, T) inputs and targets of the steps of an epoch, from `first_step` on."""
        generator = torch.Generator().manual_seed(derive_seed("batches", self._seed, epoch))
        start = int(torch.randint(self._length, (), generator=generator))
        order = torch.randperm(self.windows, generator=generator)
        span = self.windows * self._length
        inputs = self._tokens[start : start + span].view(self.windows, self._length)
        targets = self._tokens[start + 1 : start + 1 + span].view(self.windows, self._length)
        for step in range(first_step, self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield inputs[chosen], targets[chosen]
