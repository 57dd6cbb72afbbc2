from __future__ import annotations

from dataclasses import replace

import pytest

from minimal_llm.training.schedule import Schedule


def test_the_learning_rate_rises_to_the_peak_and_falls_to_the_floor() -> None:
    schedule = Schedule(peak=1e-3, warmup_steps=100, total_steps=2000, floor_ratio=0.1)
    rates = [schedule.learning_rate(step) for step in range(2000)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == rates[99] == rates[100] == pytest.approx(1e-3)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(1e-4)


def test_warmup_is_limited_to_a_tenth_of_the_run() -> None:
    schedule = Schedule(peak=1.0, warmup_steps=100, total_steps=50, floor_ratio=0.0)
    assert schedule.learning_rate(4) == 1.0


@pytest.mark.parametrize("total", [1, 2, 3])
def test_even_a_run_of_a_few_steps_has_a_valid_learning_rate_in_each(total: int) -> None:
    schedule = Schedule(peak=1.0, warmup_steps=100, total_steps=total, floor_ratio=0.1)
    assert all(0 < schedule.learning_rate(step) <= 1 for step in range(total))


def test_dropout_rises_linearly_then_stays_constant() -> None:
    schedule = Schedule(1.0, 0, total_steps=100, floor_ratio=0.1, peak_dropout=0.4, dropout_rise_ratio=0.25)
    assert [schedule.dropout(step) for step in (0, 5, 25, 99)] == pytest.approx([0.0, 0.08, 0.4, 0.4])
    constant = Schedule(1.0, 0, total_steps=100, floor_ratio=0.1, peak_dropout=0.4, dropout_rise_ratio=0.0)
    assert constant.dropout(0) == 0.4


def test_a_run_that_extends_another_joins_its_own_curve_without_a_jump() -> None:
    whole = Schedule(peak=1e-3, warmup_steps=10, total_steps=300, floor_ratio=0.1)
    joined = replace(whole, joined_at=200, joined_rate=1e-4)
    rates = [joined.learning_rate(step) for step in range(200, 300)]
    assert abs(rates[0] - 1e-4) < 4e-5
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == [whole.learning_rate(step) for step in range(209, 300)]
