"""Runs that differ in the seed only: their mean and standard deviation, and whether a difference is more than luck."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimal_llm.common.unfinished_runs import SHAPES_NO_RESULT
from minimal_llm.experiments.compare import Run

SEED = "seed"
LUCK = 0.05  # a difference that equal configurations would show less often than this is called more than luck


@dataclass(frozen=True)
class Group:
    """One configuration, trained with at least two seeds."""

    parameters: Mapping[str, Any]  # all but the seed
    runs: tuple[Run, ...]  # one for each seed

    def values(self, metric: str) -> list[float]:
        """Return a metric of all runs, in the order of their seeds."""
        return [float(run.metrics[metric]) for run in self.runs]

    def mean(self, metric: str) -> float:
        """Return the mean of a metric."""
        return statistics.fmean(self.values(metric))

    def described(self, metric: str) -> str:
        """Return the mean and the sample standard deviation of a metric, "4.365 ± 0.004"."""
        return f"{self.mean(metric):.3f} ± {statistics.stdev(self.values(metric)):.3f}"


def group_by_seed(runs: Sequence[Run]) -> list[Group]:
    """Return the configurations that were trained with several seeds, lowest mean validation loss first."""
    found: dict[str, dict[str, Run]] = {}
    for run in runs:
        if run.metrics and SEED in run.parameters:
            # The workspace and the last commit can be one of the experiments: each seed counts once.
            found.setdefault(repr(sorted(_shaping(run).items())), {}).setdefault(repr(run.parameters[SEED]), run)
    groups = [Group(_shaping(next(iter(seeds.values()))), _sorted(seeds)) for seeds in found.values() if len(seeds) > 1]
    return sorted(groups, key=lambda group: group.mean("val_loss"))


def verdict(group: Group, best: Group) -> str:
    """Return in words how the validation loss of a configuration compares with that of the best one."""
    if group is best:
        return "best"
    if [run.tokens for run in group.runs] != [run.tokens for run in best.runs]:
        return "on other tokens: not comparable"
    p = welch_p(group.values("val_loss"), best.values("val_loss"))
    difference = f"{group.mean('val_loss') - best.mean('val_loss'):+.3f}"
    return f"{difference}, {'more than luck' if p < LUCK else 'may be luck'} (p = {p:.2g})"


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the p-value of Welch's t-test: how often chance alone makes two means differ by this much or more.

    Two-sided, for at least two values each, without assuming equal variances (Welch 1947). With the substitution
    x = sqrt(n) tan(a), the tail of Student's distribution with n degrees of freedom is an integral of cos(a)^(n - 1).
    """
    errors = [statistics.variance(values) / len(values) for values in (first, second)]
    difference = abs(statistics.fmean(first) - statistics.fmean(second))
    if not sum(errors):
        return float(difference == 0)
    freedom = sum(errors) ** 2 / sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
    angle = np.arctan(difference / np.sqrt(sum(errors)) / np.sqrt(freedom))
    tail, whole = (np.linspace(start, np.pi / 2, 10_001) for start in (angle, 0.0))
    areas = [np.trapezoid(np.cos(angles) ** (freedom - 1), angles) for angles in (tail, whole)]
    return float(areas[0] / areas[1])


def _shaping(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.parameters.items() if key != SEED and key not in SHAPES_NO_RESULT}


def _sorted(seeds: Mapping[str, Run]) -> tuple[Run, ...]:
    return tuple(sorted(seeds.values(), key=lambda run: run.parameters[SEED]))
