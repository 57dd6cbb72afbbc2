"""docs/RECIPE.md shows the results in docs/reference/recipe_study.json."""

from __future__ import annotations

import json

from tests.support.stages import ROOT


def test_the_table_of_the_study_shows_its_results() -> None:
    results = json.loads((ROOT / "docs" / "reference" / "recipe_study.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "RECIPE.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    shown = {f"{row[0]} / seed {row[1]}": row[2:6] for row in rows[2:]}
    for key, result in results.items():
        after = [f"{result['val'][number]:.3f}" if len(result["val"]) > number else "" for number in (2, 9)]
        assert shown[key] == [f"{result['val_loss']:.3f}", f"{result['gap']:.3f}", *after], key
    assert shown.keys() == results.keys()
