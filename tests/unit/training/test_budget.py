from __future__ import annotations

import pytest

from minimal_llm.training.budget import TimeBudget


def ended(budget: TimeBudget, seconds_of: list[float], reserve: float = 0.0) -> tuple[int, float]:
    """Run steps that take so many seconds until the planned last one; return its number and the time."""
    planned, time = 10**9, 0.0
    for step, seconds in enumerate(seconds_of, 1):
        time += seconds
        planned = budget.steps(step, time, reserve) or planned
        if step >= planned:
            return step, time
    raise AssertionError("it did not end")


@pytest.mark.parametrize(
    "seconds_of",
    [
        [30.0] + [0.1] * 10_000,  # the first step compiles
        [0.1] * 2000 + [0.3] * 10_000,  # another program starts
        [0.06] * 4500 + [0.1] * 10_000,  # the last steps compute the full softmax
        [0.5] * 300 + [0.05] * 20_000,
    ],
)
def test_the_run_ends_in_time_whatever_the_speed_of_its_steps(seconds_of: list[float]) -> None:
    _, time = ended(TimeBudget(5.0, 0, 0.0), seconds_of)
    assert time == pytest.approx(300, rel=0.03)


def test_the_time_for_the_last_evaluation_is_kept_free() -> None:
    _, time = ended(TimeBudget(5.0, 0, 0.0), [0.1] * 10_000, reserve=12.0)
    assert time == pytest.approx(288, abs=1)


def test_a_resumed_run_counts_what_it_has_taken_before() -> None:
    budget = TimeBudget(5.0, 500, 250.0)
    counts = [budget.steps(500 + more, 250.0 + 0.5 * more, 0.0) for more in range(1, 11)]
    assert counts[:9] == [None] * 9
    assert counts[9] == 600
    assert TimeBudget(5.0, 500, 301.0).steps(501, 301.5, 0.0) == 501


def test_without_a_limit_nothing_is_planned() -> None:
    assert TimeBudget(0.0, 0, 0.0).steps(100, 1e6, 0.0) is None
