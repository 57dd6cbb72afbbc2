"""What a researcher does with DVC all day, for real, in a clone of its own."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.common.artifacts import STAGES
from tests.integration.conftest import Experiment
from tests.support.clone import Clone, needs_venv
from tests.support.stages import ROOT, run_program

pytestmark = needs_venv

QUALITY = {"val_loss", "bits_per_byte", "test_bits_per_byte", "gap", "grammar", "best_epoch"}
METRICS = QUALITY | {"train_minutes", "train_peak_mb", "p95_ms", "peak_mb"}


def experiments(clone: Clone) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv"))))


def difference(clone: Clone, *command: str) -> Any:
    return json.loads(clone.run("dvc", *command, "--json"))


def test_an_idea_is_tried_shown_compared_left_and_taken_up_again(
    experiment: Experiment, first_clone: Clone, tmp_path: Path
) -> None:
    ran = [stage for stage in STAGES if f"stage '{stage}':" in experiment.printed]
    assert ran == ["train", "validate"]
    clone = experiment.clone.copy_to(tmp_path / "clone")
    metrics = difference(clone, "metrics", "diff")
    assert {name for file in metrics.values() for name in file} <= METRICS
    assert metrics["data/metrics/summary.json"]["val_loss"]["diff"] > 0
    assert difference(clone, "params", "diff")["params.yaml"]["train.epochs"] == {"old": 2, "new": 1, "diff": -1}

    model = clone.folder / "data" / "best_model.pt"
    idea = model.read_bytes()
    clone.git("reset", "--hard", "--quiet")
    clone.run("dvc", "checkout")
    assert model.read_bytes() == (first_clone.folder / "data" / "best_model.pt").read_bytes() != idea
    assert experiment.name in {row["Experiment"] for row in experiments(clone)}
    compared = difference(clone, "exp", "diff", "HEAD", experiment.name)
    assert compared["params"]["params.yaml"]["train.epochs"] == {"old": 2, "new": 1, "diff": -1}
    clone.run("dvc", "exp", "apply", experiment.name)
    assert model.read_bytes() == idea
    assert clone.params()["train"]["epochs"] == 1
    clone.run("dvc", "exp", "branch", experiment.name, "idea-branch")
    assert "idea-branch" in clone.git("branch", "--list", "idea-branch")


def test_the_columns_of_exp_show_are_few_and_what_did_not_change_is_left_out(experiment: Experiment) -> None:
    head, *_ = experiment.clone.run(
        "dvc", "exp", "show", "--csv", "--only-changed", "--drop", r"(data|src|stages)/.*"
    ).split("\n")
    named = set(head.split(",")) - {"Experiment", "rev", "typ", "Created", "parent", "State", "Executor"}
    assert {name for name in named if "." not in name} <= METRICS  # besides the parameters that differ
    assert {"val_loss", "bits_per_byte", "gap", "train.epochs"} <= named


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.learning_rate=5", "train.learning_rate = 5: it should be at least 1e-05 and at most 0.01"),
        ("train.epoch=3", "Could not override 'train.epoch'"),
    ],
    ids=["by this project", "by DVC"],
)
def test_an_experiment_with_a_parameter_that_cannot_be_used_is_refused_and_the_results_stay(
    experimental: Clone, change: str, told: str
) -> None:
    before = (experimental.folder / "data" / "best_model.pt").read_bytes()
    printed = experimental.run("dvc", "exp", "run", "-S", change, code=255)
    assert told in printed
    assert "Running stage 'train'" not in printed
    assert "Traceback" not in printed
    assert (experimental.folder / "data" / "best_model.pt").read_bytes() == before
    assert experimental.git("status", "--porcelain", "data") == ""


@pytest.mark.parametrize(
    ("section", "name", "value", "told"),
    [
        ("train", "learning_rate", "fast", "train.learning_rate = 'fast': it should be a valid number"),
        (
            "train",
            "init_from",
            "data/best_model.pt",
            "DVC deletes data/best_model.pt before training starts",
        ),
        ("model", "heads", 3, "model.heads is 3, which does not divide model.d_model, 64; these do: 1, 2, 4, 8, 16"),
        ("train", "epoch", 3, "train.epoch = 3: there is no such parameter"),
    ],
)
def test_the_stage_that_checks_the_parameters_tells_what_cannot_be_used(
    first_clone: Clone, tmp_path: Path, section: str, name: str, value: Any, told: str
) -> None:
    params = first_clone.params()
    params[section][name] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    done = run_program(sys.executable, str(ROOT / "stages" / "parameters.py"), code=1, folder=tmp_path)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
