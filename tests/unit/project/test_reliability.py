"""docs/RELIABILITY.md has the counts that the tests of faults wrote."""

from __future__ import annotations

from scripts.reliability import DOCUMENT, read_rows, replaced, with_table


def test_the_table_is_that_of_the_counts() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text, read_rows()) == text


def test_a_new_count_replaces_those_of_its_fault_and_adds_up_over_tests() -> None:
    old = [
        {"area": "a", "fault": "x", "outcome": "was so", "rounds": 7},
        {"area": "a", "fault": "y", "outcome": "stays", "rounds": 1},
    ]
    new = [{"area": "a", "fault": "x", "outcome": "is so", "rounds": 2}] * 2
    assert replaced(old, new) == [
        {"area": "a", "fault": "x", "outcome": "is so", "rounds": 4},
        {"area": "a", "fault": "y", "outcome": "stays", "rounds": 1},
    ]
