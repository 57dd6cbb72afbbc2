"""`make compare` on real DVC experiments: finished and queued ones, with names that users choose."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from minimal_llm.experiments.compare import Run, collect_runs
from minimal_llm.experiments.compare_chart import curves
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

AWKWARD = 'a|$x$_ñ"'


@pytest.fixture(scope="module")
def compared(trained: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the trained clone with three finished experiments and a queued one."""
    compared = trained.copy_to(tmp_path_factory.mktemp("compared") / "clone")
    # Up to stage train: nothing of stage validate is compared.
    compared.run("dvc", "exp", "run", "-n", "slow", "-S", "train.learning_rate=0.0005", "train")
    compared.run("dvc", "exp", "run", "-n", AWKWARD, "-S", "train.learning_rate=3e-3", "-S", "train.epochs=3", "train")
    compared.run("dvc", "exp", "run", "-n", "short", "-S", "train.epochs=1", "train")
    compared.run("dvc", "exp", "run", "--queue", "-n", "later", "-S", "train.epochs=7")
    return compared


@pytest.fixture
def here(compared: Clone, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """The compared clone as the current folder, for calls in this process."""
    monkeypatch.chdir(compared.folder)
    monkeypatch.setenv("PATH", compared.environment["PATH"])
    return compared


def collected() -> dict[str, Run]:
    return {run.name: run for run in collect_runs()}


def test_all_experiments_are_in_the_table_and_the_best_is_marked(compared: Clone) -> None:
    printed = compared.run("make", "compare")
    assert "warning" not in printed.lower()
    rows = table_rows((compared.folder / "runs" / "compare.md").read_text(encoding="utf-8"))
    names = [row["name"] for row in rows]
    assert sorted(names) == sorted(["workspace", "HEAD (master)", "slow", AWKWARD, "short", "later"])
    for name in names:
        assert name in printed
    head, *_ = rows
    assert {key for key in head if key not in COLUMNS} == {"epochs", "learning_rate"}  # and none that is equal in all

    losses = [float(row["val_loss"]) for row in rows if row["val_loss"] != "queued"]
    assert losses == sorted(losses)
    assert [row["name"] for row in rows if row[""]] == [names[0]]
    committed = next(row for row in rows if row["name"] == "HEAD (master)")
    recorded = json.loads(compared.git("show", "HEAD:data/metrics/train.json"))
    assert committed["val_loss"] == f"{recorded['val_loss']:.3f}"
    assert committed["best epoch"] == str(recorded["best_epoch"])

    assert (names[-1], rows[-1]["val_loss"]) == ("later", "queued")
    assert "later (queued): dvc queue start" in printed
    assert compared.git("status", "--porcelain", "runs") == ""
    with Image.open(compared.folder / "runs" / "compare.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height


def test_the_picture_has_a_curve_for_each_result(here: Clone) -> None:
    drawn = curves(collect_runs())
    # The workspace holds the results of the experiment "short": one curve with two names.
    assert ("workspace", "short") in [curve.names for curve in drawn]
    assert len(drawn) == 4
    named = {name: curve for curve in drawn for name in curve.names}
    assert set(named) == {"workspace", "HEAD (master)", "slow", AWKWARD, "short"}
    head = here.git("rev-parse", "HEAD").strip()
    history = here.git("show", f"refs/exps/{head[:2]}/{head[2:]}/slow:data/plots/history.csv")
    assert named["slow"].losses == tuple(float(line.split(",")[2]) for line in history.splitlines()[1:])
    for curve in drawn:
        assert len(curve.minutes) == len(curve.losses)
        assert list(curve.minutes) == sorted(curve.minutes)


def test_a_parameter_that_was_changed_but_not_run_shows_no_loss_of_other_parameters(here: Clone) -> None:
    params = here.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    params.write_text(before.replace("weight_decay: 1.0", "weight_decay: 0.2"), encoding="utf-8")
    try:
        workspace = collected()["workspace"]
    finally:
        params.write_text(before, encoding="utf-8")
    assert (workspace.state, workspace.metrics) == ("not run", {})
    assert workspace.detail == "changed since the last run: train.weight_decay; make train"


def test_a_workspace_that_is_being_trained_has_no_metrics(here: Clone) -> None:
    path = here.folder / "data" / "metrics" / "train.json"
    before = path.read_bytes()
    path.unlink()  # as DVC does when the stage starts
    try:
        workspace = collected()["workspace"]
    finally:
        path.write_bytes(before)
    assert (workspace.state, workspace.metrics) == ("no metrics", {})
    assert "make status" in workspace.detail


def test_experiments_of_an_older_commit_stay_in_the_table(here: Clone) -> None:
    here.commit("next", "--allow-empty")
    try:
        runs = collected()
    finally:
        here.git("reset", "--quiet", "--soft", "HEAD~1")
    base = here.git("rev-parse", "--short=7", "HEAD").strip()
    assert {f"{name} (from {base})" for name in ("slow", AWKWARD, "short", "later")} < runs.keys()
    assert runs[f"later (from {base})"].state == "queued"


def test_without_experiments_it_says_how_to_make_one(tmp_path: Path) -> None:
    printed = Clone(tmp_path).run("make", "compare")
    assert "Nothing to compare yet" in printed
    assert "dvc exp run -S train.learning_rate=" in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_a_failed_experiment_is_listed_with_the_command_that_shows_its_log(
    trained: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = trained.copy_to(tmp_path / "clone")
    clone.run("dvc", "exp", "run", "--queue", "-n", "broken", "-S", "train.learning_rate=9")
    clone.run("dvc", "queue", "start", "-j", "1")
    until = time.monotonic() + 240
    while "Failed" not in clone.run("dvc", "queue", "status"):
        assert time.monotonic() < until, clone.run("dvc", "queue", "status")
    clone.run("dvc", "queue", "stop", "--kill")
    assert "broken (failed): dvc queue logs broken" in clone.run("make", "compare")
    assert "train.learning_rate = 9" in clone.run("dvc", "queue", "logs", "broken")


COLUMNS = {"", "name", "val_loss", "bits/byte", "gap", "best epoch", "minutes", "peak MB"}


def table_rows(markdown: str) -> list[dict[str, str]]:
    """The rows of the table, by heading, without the escapes of Markdown."""
    plain = re.sub(r"\\(.)", r"\1", markdown).replace("&#36;", "$")
    lines = [line[1:-1].split(" | ") for line in plain.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("&#124;", "|") for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
