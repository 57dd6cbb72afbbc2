"""Linear warm-up, then cosine annealing (Loshchilov and Hutter 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the step alone, so that there is no state to resume."""

    peak: float
    warmup_steps: int
    total_steps: int
    floor_ratio: float

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        It rises in equal steps to `peak` at the end of the warm-up and falls along a half cosine to
        `floor_ratio * peak` at the last step. A warm-up longer than a tenth of the run is cut to that.
        """
        warmup = min(self.warmup_steps, self.total_steps // 10)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.total_steps - 1 - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.peak * (self.floor_ratio + (1 - self.floor_ratio) * cosine)
