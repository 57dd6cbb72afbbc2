"""`make example` in a clone of its own; tests/unit/experiments/test_example.py has the DVC command of every recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from minimal_llm.common.config import flat
from minimal_llm.experiments.grid import read_recipe
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv
LIMIT_SECONDS = 900
SMALL = ("make", "example", "NAME=custom-corpus", "EPOCHS=1")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("examples"))


@dataclass(frozen=True)
class FirstRun:
    """What the smallest recipe printed and left, before other tests ran anything in its clone."""

    printed: str
    parameters: dict[str, Any]
    configuration: dict[str, Any]
    state: str
    languages: set[str]


@pytest.fixture(scope="module")
def first(clone: Clone) -> FirstRun:
    """The first run of the smallest recipe, after something else was left in params.yaml."""
    params = clone.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    params.write_text(before.replace("weight_decay: 1.0", "weight_decay: 0.7"), encoding="utf-8")
    return FirstRun(
        printed=clone.run(*SMALL, limit=LIMIT_SECONDS),
        parameters=flat(clone.params()),
        configuration=clone.json("training_metrics.json")["configuration"],
        state=clone.json("pipeline_status.json")["state"],
        languages={entry["language"] for entry in clone.json("corpus_manifest.json")["documents"]},
    )


def experiments(clone: Clone) -> dict[str, str]:
    """The commits of the experiments by name."""
    return {name.rpartition("/")[2]: clone.git("rev-parse", name).strip() for name in clone.experiments()}


def test_a_recipe_runs_as_an_experiment_of_its_name_on_top_of_what_is_committed(clone: Clone, first: FirstRun) -> None:
    ran = first.parameters
    recipe = read_recipe(clone.folder / "examples" / "custom-corpus.yaml") | {"train.epochs": 1}
    assert {key: ran[key] for key in recipe} == recipe
    assert ran["train.weight_decay"] == 1.0
    assert "params.yaml: train.weight_decay is reset from 0.7 to the committed 1.0" in first.printed
    assert first.configuration["train.epochs"] == 1
    assert first.state == "succeeded"
    assert first.languages == {"en", "es"}
    assert "experiment: custom-corpus-epochs-1" in first.printed
    assert experiments(clone).keys() == {"custom-corpus-epochs-1"}


def test_an_example_that_ran_before_does_nothing_again_and_keeps_its_experiment(clone: Clone, first: FirstRun) -> None:
    assert "Nothing to do" in clone.run(*SMALL)
    assert experiments(clone).keys() == {"custom-corpus-epochs-1"}


def test_an_example_that_fails_leaves_the_experiment_that_was_there(clone: Clone, first: FirstRun) -> None:
    before = experiments(clone)
    script = clone.folder / "stages" / "train.py"
    good = script.read_text(encoding="utf-8")
    try:
        script.write_text("raise SystemExit(4)\n", encoding="utf-8")
        clone.run(*SMALL, code=2)
    finally:
        script.write_text(good, encoding="utf-8")
    assert experiments(clone) == before


@pytest.mark.long
def test_resume_shows_equal_bytes_after_a_stop(clone: Clone) -> None:
    printed = clone.run("make", "example", "NAME=resume", "EPOCHS=1", limit=LIMIT_SECONDS)
    assert "exit code 130: interrupted and saved" in printed
    assert "Resuming from epoch 0" in printed
    assert "All six files are identical, byte for byte." in printed


def test_without_a_name_the_examples_are_listed_and_a_wrong_value_is_refused(clone: Clone) -> None:
    listed = clone.run("make", "example", NAME="a-machine-of-WSL")
    assert "make example NAME=quick-test" in listed
    assert "  low-memory      Train with less memory" in listed
    before = (clone.folder / "params.yaml").read_bytes()
    refused = clone.run("make", "example", "NAME=low-memory", "EPOCHS=0", code=2)
    assert "train.epochs = 0: it should be at least 1 and at most 100" in refused
    assert "Running stage" not in refused
    assert (clone.folder / "params.yaml").read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["quick-test", "low-memory", "high-quality", "earlier-recipe", "balanced", "tiny", "storyteller"]
)
def test_every_recipe_runs(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = Clone(tmp_path_factory.mktemp(name))
    printed = clone.run("make", "example", f"NAME={name}", "EPOCHS=1", limit=LIMIT_SECONDS)
    assert f"experiment: {name}-epochs-1" in printed
    assert clone.json("pipeline_status.json")["state"] == "succeeded"


@pytest.mark.long
def test_the_sweep_of_the_examples_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = Clone(tmp_path_factory.mktemp("sweep"))
    words = ("EPOCHS=1", "BATCH_SIZE=32", "MAX_SEQ_LENGTH=128", "JOBS=2")
    printed = clone.run("make", "example", "NAME=sweep", *words, limit=LIMIT_SECONDS)
    assert printed.count("validation loss") == 4
