"""README.md is short. Its numbers, links and commands are checked with those of the other documents."""

from __future__ import annotations

from tests.support.stages import ROOT


def test_the_readme_is_one_that_a_person_reads() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
