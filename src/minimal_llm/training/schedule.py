"""What changes from step to step: the learning rate and the dropout rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Pure functions of the step, counted from 0, so there is no state to save in a checkpoint.

    A run that extends another one joins its own curve at step `joined_at`: its learning rate rises or falls to it in a
    straight line from `joined_rate`, where the other run ended, over as many steps as a warmup.
    """

    peak: float
    warmup_steps: int
    total_steps: int
    floor_ratio: float
    peak_dropout: float = 0.0
    dropout_rise_ratio: float = 0.0
    joined_at: int = 0
    joined_rate: float = 0.0

    def learning_rate(self, step: int) -> float:
        """Return the learning rate: linear warmup, then cosine annealing (Loshchilov and Hutter 2017).

        It rises linearly to `peak` during warmup, then falls along a half cosine to `floor_ratio * peak` at the last
        step. Warmup is limited to a tenth of the run.
        """
        rate = self._planned_rate(step)
        joined = step - self.joined_at + 1  # steps since then
        if self.joined_at and joined < self.warmup_steps:
            return self.joined_rate + joined / self.warmup_steps * (rate - self.joined_rate)
        return rate

    def _planned_rate(self, step: int) -> float:
        warmup = min(self.warmup_steps, self.total_steps // 10)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.total_steps - 1 - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.peak * (self.floor_ratio + (1 - self.floor_ratio) * cosine)

    def dropout(self, step: int) -> float:
        """Return the dropout rate, which rises linearly from 0 to `peak_dropout` (Morerio et al. 2017).

        Early in training there is nothing to overfit with: without dropout, the model learns in three epochs what takes
        five epochs with it.
        """
        rise = self.dropout_rise_ratio * self.total_steps
        return self.peak_dropout * (min(1.0, step / rise) if rise else 1.0)
