"""Runs that differ in the seed only: mean, deviation, and whether a difference is more than luck."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimal_llm.experiments.compare import Run
from minimal_llm.experiments.compare_seeds import group_by_seed, verdict, welch_p
from minimal_llm.experiments.compare_table import write_comparison


def run(val_loss: float, seed: float, dropout: float, tokens: str = "", name: str = "a") -> Run:
    metrics = {"val_loss": val_loss, "val_bits_per_byte": val_loss / 2, "gap": 0.25, "best_epoch": 3}
    return Run(
        name, {"seed": seed, "train.dropout": dropout, "train.keep_checkpoints": seed}, metrics=metrics, tokens=tokens
    )


def three(dropout: float, *losses: float, tokens: str = "") -> list[Run]:
    return [run(loss, float(seed), dropout, tokens) for seed, loss in enumerate(losses)]


def test_runs_are_grouped_by_all_parameters_that_shape_results_but_the_seed() -> None:
    runs = [*three(0.2, 4.0, 4.2, 4.1), *three(0.1, 3.9, 4.0), run(3.0, 0.0, 0.3)]
    workspace = run(4.0, 0.0, 0.2, name="workspace")  # the same results as an experiment
    first, second = group_by_seed([workspace, *runs, Run("waits", {"seed": 1.0, "train.dropout": 0.3}, "queued")])
    assert (first.parameters, second.parameters) == ({"train.dropout": 0.1}, {"train.dropout": 0.2})
    assert second.values("val_loss") == [4.0, 4.2, 4.1]
    assert second.described("val_loss") == "4.100 ± 0.100"


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [  # examples of Wikipedia's article on Welch's t-test, with R's results
        (
            [27.5, 21, 19, 23.6, 17, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19, 21.7, 21.4],
            [27.1, 22, 20.8, 23.4, 23.4, 23.5, 25.8, 22, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4],
            0.021378,
        ),
        ([3.0, 4.0, 1.0, 2.1], [490.2, 340.0, 433.9], 0.0107516),
        ([1.0, 2.0], [1.0, 2.0], 1.0),
        ([1.0, 1.0], [1.0, 1.0], 1.0),
        ([1.0, 1.0], [2.0, 2.0], 0.0),
    ],
)
def test_the_p_value_is_that_of_welch(first: list[float], second: list[float], p: float) -> None:
    assert welch_p(first, second) == welch_p(second, first) == pytest.approx(p, rel=1e-4)


def test_a_difference_is_called_luck_or_more_and_other_tokens_are_not_compared() -> None:
    best, near, far = three(0.1, 4.00, 4.02, 4.01), three(0.2, 4.02, 4.00, 4.03), three(0.3, 4.40, 4.41, 4.42)
    other = three(0.4, 5.0, 5.1, tokens="2k")
    groups = group_by_seed([*other, *far, *near, *best])
    assert [verdict(group, groups[0]) for group in groups] == [
        "best",
        "+0.007, may be luck (p = 0.57)",
        "+0.400, more than luck (p = 1e-06)",
        "on other tokens: not comparable",
    ]


def test_the_comparison_shows_them_only_where_there_are_several_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_comparison([*three(0.2, 4.3, 4.2, 4.1), *three(0.1, 3.9, 4.0, 3.8)], tmp_path)
    printed = capsys.readouterr().out
    assert "Over several seeds, mean ± standard deviation:" in printed
    assert "0.1      3      3.900 ± 0.100  1.950 ± 0.050  0.250 ± 0.000  best" in printed
    page = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert "| 0.2 | 3 | 4.200 ± 0.100 | 2.100 ± 0.050 | 0.250 ± 0.000 | +0.300, more than luck (p = 0.021) |" in page
    write_comparison([run(4.0, 0.0, 0.2), run(4.1, 0.0, 0.1)], tmp_path)
    assert "several seeds" not in capsys.readouterr().out + (tmp_path / "compare.md").read_text(encoding="utf-8")
