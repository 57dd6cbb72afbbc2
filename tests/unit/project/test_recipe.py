"""docs/RECIPE.md shows the results in docs/reference/recipe_study.json and recipe_study_untied.json."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.stages import ROOT

PAGE = (ROOT / "docs" / "RECIPE.md").read_text(encoding="utf-8")


def test_the_table_of_the_study_is_the_one_that_the_study_prints() -> None:
    command = [sys.executable, "benchmarks/recipe_study.py"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(table) > 10
    assert "\n".join(table) in PAGE
    assert "not measured: nothing" in printed


def test_the_table_of_the_earlier_study_shows_its_results() -> None:
    results = json.loads((ROOT / "docs" / "reference" / "recipe_study_untied.json").read_text(encoding="utf-8"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if len(row) == 6]  # the table above has more columns
    shown = {f"{row[0]} / seed {row[1]}": row[2:6] for row in rows[2:]}
    for key, result in results.items():
        after = [f"{result['val'][number]:.3f}" if len(result["val"]) > number else "" for number in (2, 9)]
        assert shown[key] == [f"{result['val_loss']:.3f}", f"{result['gap']:.3f}", *after], key
    assert shown.keys() == results.keys()
