"""A clock that goes back and forth by a year, and files whose time lies."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import assert_equal_results, before

pytestmark = [needs_venv, pytest.mark.long]

YEAR = 365 * 24 * 3600
LYING_CLOCK = f"""
import random, time
_true, _random = time.time, random.Random({{seed}})
time.time = lambda: _true() + _random.uniform(-{YEAR}, {YEAR})
time.time_ns = lambda: int(time.time() * 1e9)
"""


def durations(content: Any, name: str = "") -> dict[str, float]:
    """Return every number in a JSON document that is a time or a duration, by its dotted name."""
    if isinstance(content, dict):
        return {
            key: value for name_, each in content.items() for key, value in durations(each, f"{name}.{name_}").items()
        }
    if isinstance(content, list):
        return {key: value for i, each in enumerate(content) for key, value in durations(each, f"{name}.{i}").items()}
    timed = any(word in name for word in ("seconds", "minutes", "_ms", "per_s"))
    return {name: content} if timed and isinstance(content, int | float) else {}


def test_a_clock_that_jumps_by_a_year_all_the_time_changes_no_result_and_no_duration_is_negative(
    first_clone: Clone, tmp_path: Path, random: Random, count: Count
) -> None:
    clone = before("tokenizer", first_clone, tmp_path / "clone")
    lying = tmp_path / "lying"
    lying.mkdir()
    (lying / "sitecustomize.py").write_text(LYING_CLOCK.format(seed=random.randrange(1000)), encoding="utf-8")
    clone.run("make", "train", PYTHONPATH=f"{lying}{os.pathsep}{clone.folder / 'src'}")
    assert_equal_results(clone, first_clone)
    records = [*(clone.folder / "data").rglob("*.json")]
    logs = [*(clone.folder / "data" / "checkpoints").glob("*/log.jsonl")]
    assert records
    assert logs
    lines = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    for content in [*(json.loads(path.read_text(encoding="utf-8")) for path in records), *lines]:
        assert {name: value for name, value in durations(content).items() if value < 0} == {}
    clone.run("make", "status", PYTHONPATH=f"{lying}{os.pathsep}{clone.folder / 'src'}")
    count(
        "Time and memory", "a clock that jumps by up to a year at every reading", "no result changes, no time negative"
    )


def test_an_edit_of_the_same_size_and_with_a_time_in_the_past_counts(experimental: Clone, count: Count) -> None:
    source = experimental.folder / "src" / "minimal_llm" / "training" / "schedule.py"
    was = source.stat()
    source.write_text(source.read_text(encoding="utf-8").replace("What changes", "What varies_"[:12]), encoding="utf-8")
    assert source.stat().st_size == was.st_size
    os.utime(source, (was.st_mtime - YEAR, was.st_mtime - YEAR))
    assert "src/minimal_llm/training" in experimental.run("dvc", "status")
    count("Time and memory", "a file edited with its size kept and its time set back by a year", "noticed")
