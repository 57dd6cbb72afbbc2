"""The record of every step of a run, in a bounded number of rows, for plots.

A row is a step or, in a longer run, the mean over 2, 4, 8, ... of them. That depends on the steps so far alone, not on
how many were planned, so the record is the same whether a run was interrupted, extended or given a number of minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_ROWS = 2000  # even: then neighbors become one
# The loss is the step's own, on its batch, with dropout, masked inputs and perhaps a subset of the vocabulary.
COLUMNS = ("step", "batch_loss", "learning_rate", "gradient_norm", "clipped")
Row = list[float]  # a number of steps, and the sums of the other columns over them


def add_step(rows: list[Row], loss: float, learning_rate: float, gradient_norm: float, clip: float) -> None:
    """Add a step to the record, given the norm above which gradients are clipped."""
    is_complete = not rows or rows[-1][0] == rows[0][0]
    if is_complete and len(rows) == MOST_ROWS:
        rows[:] = [_sum(*pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
    row = [1, loss, learning_rate, gradient_norm, float(gradient_norm > clip)]
    if is_complete:
        rows.append(row)
    else:
        rows[-1] = _sum(rows[-1], row)


def clipped_share(rows: Sequence[Row]) -> float:
    """Return the fraction of the steps whose gradients were clipped."""
    return sum(row[-1] for row in rows) / sum(row[0] for row in rows)


def steps_csv(rows: Sequence[Row], last_step: int) -> str:
    """Return the record as CSV: the last step of each row, and the means over its steps."""
    lines, step = [",".join(COLUMNS)], last_step - sum(row[0] for row in rows)
    for count, *sums in rows:
        step += count
        lines.append(",".join([f"{step:.0f}", *(f"{value / count:.6g}" for value in sums)]))
    return "\n".join(lines) + "\n"


def _sum(one: Row, other: Row) -> Row:
    return [a + b for a, b in zip(one, other, strict=True)]
