"""`make compare` on real experiments of DVC: finished, failed and queued ones, with names that users choose."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

AWKWARD = 'a|$x$_ñ"'
CURVES = """
import json
from minimal_llm.compare import collect_runs
from minimal_llm.compare_output import curves
print(json.dumps([[curve.names, curve.losses, curve.minutes] for curve in curves(collect_runs())]))
"""


@pytest.fixture(scope="module")
def compared(trained: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the trained clone with three finished experiments, a failed and a queued one."""
    compared = trained.copy_to(tmp_path_factory.mktemp("compared") / "clone")
    compared.run("dvc", "exp", "run", "-n", "slow", "-S", "train.learning_rate=0.0005")
    compared.run("dvc", "exp", "run", "-n", AWKWARD, "-S", "train.learning_rate=0.003", "-S", "train.epochs=3")
    compared.run("dvc", "exp", "run", "-n", "short", "-S", "train.epochs=1")
    compared.run("dvc", "exp", "run", "--queue", "-n", "broken", "-S", "train.learning_rate=9")
    compared.run("dvc", "queue", "start", "-j", "1")
    until = time.monotonic() + 240
    while "Failed" not in compared.run("dvc", "queue", "status"):
        assert time.monotonic() < until, compared.run("dvc", "queue", "status")
    compared.run("dvc", "queue", "stop", "--kill")
    compared.run("dvc", "exp", "run", "--queue", "-n", "later", "-S", "train.epochs=7")
    return compared


def test_all_experiments_are_in_the_table_and_the_best_is_marked(compared: Clone) -> None:
    printed = compared.run("make", "compare")
    rows = table_rows((compared.folder / "runs" / "compare.md").read_text(encoding="utf-8"))
    names = [row["name"] for row in rows]
    assert sorted(names) == sorted(["workspace", "HEAD (master)", "slow", AWKWARD, "short", "broken", "later"])
    for name in names:
        assert name in printed
    head, *_ = rows
    assert {key for key in head if key not in COLUMNS} == {"epochs", "learning_rate"}  # and none that is equal in all

    losses = [float(row["val_loss"]) for row in rows if row["val_loss"] not in ("failed", "queued")]
    assert losses == sorted(losses)
    assert [row["name"] for row in rows if row[""]] == [names[0]]
    committed = next(row for row in rows if row["name"] == "HEAD (master)")
    recorded = json.loads(compared.git("show", "HEAD:data/metrics/train.json"))
    assert committed["val_loss"] == f"{recorded['val_loss']:.3f}"
    assert committed["best epoch"] == str(recorded["best_epoch"])

    assert [(row["name"], row["val_loss"]) for row in rows[-2:]] == [("later", "queued"), ("broken", "failed")] or [
        (row["name"], row["val_loss"]) for row in rows[-2:]
    ] == [("broken", "failed"), ("later", "queued")]
    assert "broken (failed): params.yaml cannot be used: train.learning_rate = 9" in printed
    assert "dvc queue logs broken" in printed
    assert "later (queued): dvc queue start" in printed
    assert compared.git("status", "--porcelain", "runs") == ""


def test_the_picture_has_a_curve_for_each_result(compared: Clone) -> None:
    assert "warning" not in compared.run("make", "compare").lower()
    with Image.open(compared.folder / "runs" / "compare.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height

    drawn = json.loads(compared.run(sys.executable, "-c", CURVES))
    names = {name: (losses, minutes) for called, losses, minutes in drawn for name in called}
    # The workspace has what the experiment "short" has: one curve with two names.
    assert ["workspace", "short"] in [called for called, _, _ in drawn]
    assert len(drawn) == 4
    assert set(names) == {"workspace", "HEAD (master)", "slow", AWKWARD, "short"}
    history = compared.git("show", "refs/exps/" + experiment_ref(compared, "slow") + ":data/plots/history.csv")
    assert names["slow"][0] == [float(line.split(",")[2]) for line in history.splitlines()[1:]]
    for losses, minutes in names.values():
        assert len(minutes) == len(losses)
        assert minutes == sorted(minutes)


def test_a_parameter_that_was_changed_but_not_run_shows_no_loss_of_other_parameters(compared: Clone) -> None:
    params = compared.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    params.write_text(before.replace("weight_decay: 0.1", "weight_decay: 0.2"), encoding="utf-8")
    try:
        printed = compared.run("make", "compare")
    finally:
        params.write_text(before, encoding="utf-8")
    assert "workspace (not run): changed and not run yet: train.weight_decay; make train" in printed


def test_experiments_of_an_older_commit_stay_in_the_table(compared: Clone) -> None:
    compared.commit("next", "--allow-empty")
    try:
        printed = compared.run("make", "compare")
    finally:
        compared.git("reset", "--quiet", "--soft", "HEAD~1")
    base = compared.git("rev-parse", "--short=7", "HEAD").strip()
    for name in ("slow", "later", "broken"):
        assert f"{name} (from {base})" in printed


def test_without_experiments_it_says_how_to_make_one(tmp_path: Path) -> None:
    printed = Clone(tmp_path).run("make", "compare")
    assert "Nothing to compare yet" in printed
    assert "dvc exp run -S train.learning_rate=" in printed
    assert not (tmp_path / "runs").exists()


COLUMNS = {"", "name", "val_loss", "bits/byte", "gap", "best epoch", "minutes", "peak MB"}


def table_rows(markdown: str) -> list[dict[str, str]]:
    """The rows of the table, by heading, without the escapes of Markdown."""
    plain = re.sub(r"\\(.)", r"\1", markdown).replace("&#36;", "$")
    lines = [line[1:-1].split(" | ") for line in plain.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("&#124;", "|") for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def experiment_ref(clone: Clone, name: str) -> str:
    head = clone.git("rev-parse", "HEAD").strip()
    return f"{head[:2]}/{head[2:]}/{name}"
