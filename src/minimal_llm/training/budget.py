"""How many steps fit into a run of so many minutes (train.max_minutes)."""

from __future__ import annotations

RECOUNT_SHARE = 0.02  # of the time between two counts
LEAST_STEPS = 10  # to measure their speed


class TimeBudget:
    """Counts at the speed since the last count: the speed of a machine changes, and so does that of steps."""

    def __init__(self, minutes: float, step: int, seconds: float) -> None:
        """Take the minutes, 0 for no limit, and the steps and seconds of a run so far, from which it is resumed."""
        self._limit = 60 * minutes
        self._counted_at = max(1, step), seconds  # the first step compiles, or warms caches up
        self._is_planned = False

    def steps(self, step: int, seconds: float, reserve: float) -> int | None:
        """Return the steps of the whole run if it is time for a count, after `step` steps in `seconds`; else None.

        `reserve` is the time, in seconds, that is needed after the last step.
        """
        if not self._limit:
            return None
        if step == 1:
            self._counted_at = 1, seconds
        steps_before, seconds_before = self._counted_at
        is_over = seconds >= self._limit
        is_new = seconds - seconds_before >= RECOUNT_SHARE * self._limit or not self._is_planned
        if step == steps_before or not (is_over or (is_new and step - steps_before >= LEAST_STEPS)):
            return None
        self._counted_at, self._is_planned = (step, seconds), True
        each = (seconds - seconds_before) / (step - steps_before)
        return step + max(0, int((self._limit - seconds - reserve) / each))
