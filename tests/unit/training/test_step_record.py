"""The record of the steps of a run: complete while it is short, bounded when it is long, equal however it was run."""

from __future__ import annotations

import csv

import pytest

from minimal_llm.training import step_record
from minimal_llm.training.step_record import MOST_ROWS, Row, add_step, clipped_share, steps_csv


def recorded(steps: int, rows: list[Row] | None = None, first: int = 1) -> list[Row]:
    """Steps with the loss n, the learning rate 2 n and the norm 3 n, clipped above 30."""
    rows = [] if rows is None else rows
    for step in range(first, steps + 1):
        add_step(rows, step, 2 * step, 3 * step, 30)
    return rows


def written(rows: list[Row], last_step: int) -> list[dict[str, float]]:
    return [
        {name: float(value) for name, value in row.items()}
        for row in csv.DictReader(steps_csv(rows, last_step).splitlines())
    ]


def test_a_short_run_has_a_row_for_every_step() -> None:
    rows = written(recorded(12), 12)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[10] == {"step": 11, "batch_loss": 11, "learning_rate": 22, "gradient_norm": 33, "clipped": 1}
    assert [row["clipped"] for row in rows] == [0] * 10 + [1, 1]
    assert clipped_share(recorded(12)) == 2 / 12


@pytest.mark.parametrize(("steps", "interval"), [(8, 1), (9, 2), (16, 2), (17, 4), (31, 4), (33, 8), (100, 16)])
def test_a_long_run_has_the_means_of_more_and_more_steps(
    monkeypatch: pytest.MonkeyPatch, steps: int, interval: int
) -> None:
    monkeypatch.setattr(step_record, "MOST_ROWS", 8)
    rows = recorded(steps)
    assert len(rows) == -(-steps // interval) <= 8
    for row in written(rows, steps):
        first = (row["step"] - 1) // interval * interval + 1
        assert row["step"] == min(first + interval - 1, steps)  # the last row may be the mean of fewer
        assert row["batch_loss"] == (first + row["step"]) / 2
    assert clipped_share(rows) == max(0, steps - 10) / steps


def test_the_record_does_not_depend_on_where_a_run_was_resumed_or_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_record, "MOST_ROWS", 8)
    for stopped in range(1, 60):
        saved = [list(row) for row in recorded(stopped)]
        assert recorded(60, saved, first=stopped + 1) == recorded(60)


def test_a_run_that_extends_one_without_a_record_numbers_its_own_steps() -> None:
    assert [row["step"] for row in written(recorded(3), last_step=103)] == [101, 102, 103]


def test_the_default_run_fits_with_two_steps_a_row() -> None:
    assert len(recorded(3200)) == 1600 <= MOST_ROWS
