"""What a researcher does with DVC all day, for real, in a clone of its own."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

METRICS = {"val_loss", "bits_per_byte", "gap", "best_epoch", "train_minutes", "train_peak_mb", "p95_ms", "peak_mb"}


def experiments(clone: Clone) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv"))))


def difference(clone: Clone, *command: str) -> Any:
    return json.loads(clone.run("dvc", *command, "--json"))


def test_an_idea_is_tried_shown_compared_left_and_taken_up_again(experimental: Clone) -> None:
    before = (experimental.folder / "data" / "best_model.pt").read_bytes()
    # 1e-3 is text to YAML, and a number all the same
    changes = ("-S", "train.learning_rate=1e-3", "-S", "train.epochs=1")
    printed = experimental.run("dvc", "exp", "run", "-n", "my-idea", *changes)
    assert [stage for stage in ("download", "tokenizer", "train", "validate") if f"stage '{stage}':" in printed] == [
        "train",
        "validate",
    ]
    metrics = difference(experimental, "metrics", "diff")
    assert {name for file in metrics.values() for name in file} <= METRICS
    assert metrics["data/metrics/summary.json"]["val_loss"]["diff"] > 0
    assert difference(experimental, "params", "diff")["params.yaml"]["train.epochs"] == {"old": 2, "new": 1, "diff": -1}

    idea = (experimental.folder / "data" / "best_model.pt").read_bytes()
    experimental.git("reset", "--hard", "--quiet")
    experimental.run("dvc", "checkout")
    assert (experimental.folder / "data" / "best_model.pt").read_bytes() == before
    assert "my-idea" in {row["Experiment"] for row in experiments(experimental)}
    compared = difference(experimental, "exp", "diff", "HEAD", "my-idea")
    assert compared["params"]["params.yaml"]["train.epochs"] == {"old": 2, "new": 1, "diff": -1}
    experimental.run("dvc", "exp", "apply", "my-idea")
    assert (experimental.folder / "data" / "best_model.pt").read_bytes() == idea
    assert experimental.params()["train"]["epochs"] == 1
    experimental.run("dvc", "exp", "branch", "my-idea", "idea-branch")
    assert "idea-branch" in experimental.git("branch", "--list", "idea-branch")
    experimental.git("branch", "-D", "idea-branch")


def test_the_columns_of_exp_show_are_few_and_what_did_not_change_is_left_out(experimental: Clone) -> None:
    experimental.run("dvc", "exp", "run", "-S", "train.epochs=1")
    head, *_ = experimental.run(
        "dvc", "exp", "show", "--csv", "--only-changed", "--drop", r"(data|src|stages)/.*"
    ).split("\n")
    named = set(head.split(",")) - {"Experiment", "rev", "typ", "Created", "parent", "State", "Executor"}
    assert {name for name in named if "." not in name} <= METRICS  # besides the parameters that differ
    assert {"val_loss", "bits_per_byte", "gap", "train.epochs"} <= named


def test_a_changed_comment_in_the_safety_rules_retrains_nothing(experimental: Clone) -> None:
    rules = experimental.folder / "src" / "minimal_llm" / "inference" / "safety" / "rules.yaml"
    with rules.open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    printed = experimental.run("dvc", "repro")
    assert "Running stage 'validate'" in printed
    assert "Running stage 'train'" not in printed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.learning_rate=5", "train.learning_rate = 5: it should be at least 1e-05 and at most 0.01"),
        ("train.learning_rate=fast", "train.learning_rate = 'fast': it should be a valid number"),
        ("train.init_from=data/best_model.pt", "train.init_from: DVC deletes data/best_model.pt before it trains"),
        ("model.heads=3", "model.heads is 3, which does not divide model.d_model, 64; these do: 1, 2, 4, 8, 16"),
        ("train.epoch=3", "Could not override 'train.epoch'"),
        ("+train.epoch=3", "train.epoch = 3: there is no such parameter"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_and_the_results_stay(
    experimental: Clone, change: str, told: str
) -> None:
    before = (experimental.folder / "data" / "best_model.pt").read_bytes()
    printed = experimental.run("dvc", "exp", "run", "-S", change, code=255)
    assert told in printed
    assert "Running stage 'train'" not in printed
    assert "Traceback" not in printed
    assert (experimental.folder / "data" / "best_model.pt").read_bytes() == before
    assert experimental.git("status", "--porcelain", "data") == ""
