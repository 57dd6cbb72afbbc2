"""Every example through `make example`, one epoch each, in a clone of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minimal_llm.common.config import flat
from minimal_llm.experiments.recipes import read_recipe
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv
LIMIT_SECONDS = 900
NAMES = {"balanced", "custom-corpus", "earlier-recipe", "high-quality", "low-memory", "quick-test", "resume", "sweep"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("examples"))


def experiments(clone: Clone) -> set[str]:
    return {name.rpartition("/")[2] for name in clone.experiments()}


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("quick-test", {"EPOCHS": 1, "BATCH_SIZE": 32, "MAX_SEQ_LENGTH": 128}),
        ("low-memory", {"EPOCHS": 1, "VOCAB_SIZE": 1000}),
        ("custom-corpus", {"EPOCHS": 1}),
        pytest.param("high-quality", {"EPOCHS": 1}, marks=pytest.mark.long),
        pytest.param("earlier-recipe", {"EPOCHS": 1}, marks=pytest.mark.long),
        pytest.param("balanced", {"EPOCHS": 1}, marks=pytest.mark.long),
    ],
)
def test_a_recipe_runs_as_an_experiment_of_its_name_on_top_of_what_is_committed(
    clone: Clone, name: str, variables: dict[str, int]
) -> None:
    clone.git("checkout", "params.yaml")
    wanted = flat(clone.params()) | read_recipe(clone.folder / "examples" / f"{name}.yaml")
    # What an earlier run left in params.yaml is not part of the recipe.
    params = (clone.folder / "params.yaml").read_text(encoding="utf-8")
    (clone.folder / "params.yaml").write_text(
        params.replace("weight_decay: 0.1", "weight_decay: 0.7"), encoding="utf-8"
    )

    words = [f"{key}={value}" for key, value in variables.items()]
    printed = clone.run("make", "example", f"NAME={name}", *words, limit=LIMIT_SECONDS)

    keys = {"EPOCHS": "train.epochs", "BATCH_SIZE": "train.batch_size"}
    keys |= {"MAX_SEQ_LENGTH": "train.max_seq_length", "VOCAB_SIZE": "tokenizer.vocab_size"}
    wanted |= {keys[variable]: value for variable, value in variables.items()}
    ran = flat(clone.params())
    assert {key: ran[key] for key in wanted if key != "download.files_digest"} == {
        key: value for key, value in wanted.items() if key != "download.files_digest"
    }
    assert clone.json("training_metrics.json")["configuration"]["train.epochs"] == 1
    assert clone.json("pipeline_status.json")["state"] == "succeeded"
    assert "params.yaml: train.weight_decay goes back from 0.7 to" in printed or name == "earlier-recipe"
    assert f"experiment: {name}-epochs-1" in printed
    assert any(experiment.startswith(f"{name}-epochs-1") for experiment in experiments(clone))


def test_an_example_that_ran_before_does_nothing_again_and_keeps_its_experiment(clone: Clone) -> None:
    command = ("make", "example", "NAME=custom-corpus", "EPOCHS=1")
    clone.run(*command, limit=LIMIT_SECONDS)
    assert {entry["language"] for entry in clone.json("corpus_manifest.json")["documents"]} == {"en", "es"}
    before = experiments(clone)
    assert "custom-corpus-epochs-1" in before
    printed = clone.run(*command, limit=LIMIT_SECONDS)
    assert "Nothing to do" in printed
    assert experiments(clone) == before


def test_an_example_that_fails_leaves_the_experiment_that_was_there(clone: Clone, tmp_path: Path) -> None:
    command = ("make", "example", "NAME=custom-corpus", "EPOCHS=1")
    clone.run(*command, limit=LIMIT_SECONDS)
    before = clone.git("for-each-ref", "refs/exps")
    script = clone.folder / "stages" / "train.py"
    good = script.read_text(encoding="utf-8")
    try:
        script.write_text("raise SystemExit(4)\n", encoding="utf-8")
        clone.run(*command, code=2)
    finally:
        script.write_text(good, encoding="utf-8")
    assert "custom-corpus-epochs-1" in clone.git("for-each-ref", "refs/exps")
    assert [line for line in before.splitlines() if "custom-corpus-epochs-1" in line] == [
        line for line in clone.git("for-each-ref", "refs/exps").splitlines() if "custom-corpus-epochs-1" in line
    ]


def test_resume_shows_equal_bytes_after_a_stop(clone: Clone) -> None:
    printed = clone.run("make", "example", "NAME=resume", "EPOCHS=1", limit=LIMIT_SECONDS)
    assert "exit code 130: interrupted and saved" in printed
    assert "Resuming from epoch 0" in printed
    assert "All five files are identical, byte for byte." in printed


@pytest.mark.long
def test_the_sweep_of_the_examples_runs(clone: Clone) -> None:
    clone.git("checkout", "params.yaml")
    words = ("EPOCHS=1", "BATCH_SIZE=32", "MAX_SEQ_LENGTH=128", "JOBS=2")
    printed = clone.run("make", "example", "NAME=sweep", *words, limit=LIMIT_SECONDS)
    assert printed.count("validation loss") == 4


def test_without_a_name_and_with_an_unknown_one_the_examples_are_listed(clone: Clone) -> None:
    listed = clone.run("make", "example", NAME="a-machine-of-WSL")
    unknown = clone.run("make", "example", "NAME=low-memry", code=2)
    assert "there is no example 'low-memry'" in unknown
    for printed in (listed, unknown):
        names = {line.split()[0] for line in printed.splitlines() if line.startswith("  ")}
        assert names >= NAMES


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("EPOCHS=0", "train.epochs = 0: it should be at least 1 and at most 100"),
        ("CORPUS=/nowhere.txt", "/nowhere.txt"),
    ],
)
def test_a_wrong_variable_is_refused_before_anything_runs(clone: Clone, variable: str, told: str) -> None:
    clone.git("checkout", "params.yaml")
    printed = clone.run("make", "example", "NAME=low-memory", variable, code=2)
    assert told in printed
    assert "Running stage" not in printed
    assert subprocess.run(["git", "diff", "--quiet", "params.yaml"], cwd=clone.folder, check=False).returncode == 0
