"""A grid and its combinations; the recipes in examples/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.config import load_config, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.experiments.example import examples
from minimal_llm.experiments.grid import identity, read_grid, read_recipe
from minimal_llm.pipeline.inputs import recorded_hashes
from minimal_llm.pipeline.memory_estimate import training_memory_mb
from tests.support.stages import ROOT


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def grid_file(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_gives_every_combination_once_under_a_readable_name(tmp_path: Path) -> None:
    path = grid_file(tmp_path, "train: {epochs: 2}\ntrain.dropout: [0, 0.2, '2e-1']\nmodel.layers: [1, 2]\n")
    found = read_grid(path, {"train.batch_size": "16"})
    assert [combination.name[:-7] for combination in found] == [
        "dropout-0.0-layers-1",
        "dropout-0.0-layers-2",
        "dropout-0.2-layers-1",
        "dropout-0.2-layers-2",
    ]
    assert {combination.config.train.epochs for combination in found} == {2}
    assert {combination.config.train.batch_size for combination in found} == {16}
    assert len({combination.name for combination in read_grid(path, {})} | {c.name for c in found}) == 8


def test_every_combination_can_have_several_seeds(tmp_path: Path) -> None:
    path = grid_file(tmp_path, "train.dropout: [0, 0.2]\n")
    found = read_grid(path, {}, seeds=3)
    first = load_config(ROOT / "params.yaml").seed
    assert [(c.config.train.dropout, c.config.seed - first) for c in found] == [
        (d, n) for d in (0, 0.2) for n in range(3)
    ]
    assert len({combination.name for combination in found}) == 6
    with pytest.raises(ConfigurationError, match=r"lists seeds itself \(\[1, 2\]\), and SEEDS=3 would replace them"):
        read_grid(grid_file(tmp_path, "seed: [1, 2]\n"), {}, seeds=3)


def test_threads_make_no_new_experiment_unless_the_grid_sets_them(tmp_path: Path) -> None:
    (combination,) = read_grid(grid_file(tmp_path, "train.epochs: 1\n"), {})
    by_hand = parse_config(read_params(), {"train.epochs": 1, "train.threads": 7, "train.keep_checkpoints": 9})
    assert identity(by_hand, recorded_hashes(by_hand), by_threads=False) == combination.identity
    one, two = read_grid(grid_file(tmp_path, "train.threads: [1, 2]\n"), {})
    assert one.identity != two.identity
    assert one.identity == identity(one.config, recorded_hashes(one.config), by_threads=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- train.epochs\n", "does not map parameters to values"),
        ("train.epochs: [1\n", "cannot be read"),
        ("{}", "sets no parameters"),
        ("train.epochs: []", "train.epochs = []: the list is empty"),
        ("train.epoch: [1, 2]", "train.epoch = 1: there is no such parameter"),
        ("tran.epochs: [1]\n", "tran"),
        ("train.epochs: [0, 1]", "train.epochs = 0: it should be at least 1 and at most 100"),
        (
            "train.dropout: [0.1, 1.5]\ntrain.epochs: [0, 1]",
            "train.dropout = 1.5: it should be at least 0 and at most 0.99",
        ),
        ("model.heads: [4, 7]", "model.heads is 7, which does not divide model.d_model"),
    ],
)
def test_an_invalid_grid_is_refused_with_its_name_and_the_problem(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_grid(grid_file(tmp_path, text), {})
    assert "grid.yaml" in str(refusal.value)
    assert problem in str(refusal.value)


def test_a_grid_with_too_many_combinations_is_refused(tmp_path: Path) -> None:
    values = list(range(1, 41))
    with pytest.raises(ConfigurationError, match="1,600 combinations"):
        read_grid(grid_file(tmp_path, f"train.epochs: {values}\ntrain.batch_size: {values}\n"), {})


def recipe_config(name: str) -> Any:
    return parse_config(read_params(), read_recipe(examples()[name]))


def test_every_recipe_is_valid_and_what_it_claims_to_be() -> None:
    recipes = {
        name: recipe_config(name) for name, path in examples().items() if path.suffix == ".yaml" and name != "sweep"
    }
    assert recipes["balanced"] == load_config()
    assert training_memory_mb(recipes["low-memory"]) < training_memory_mb(recipes["balanced"])
    assert recipes["high-quality"].download.megabytes_per_language > recipes["balanced"].download.megabytes_per_language
    assert len(read_grid(examples()["sweep"], {})) == 4


def test_an_edited_file_of_ones_own_makes_another_experiment(tmp_path: Path) -> None:
    text, grid = tmp_path / "text.txt", grid_file(tmp_path, "train.epochs: 1\n")
    overrides = {"download.source": "files", "download.files": [str(tmp_path / "*.txt")]}
    text.write_text("One.", encoding="utf-8")
    (one,) = read_grid(grid, overrides)
    text.write_text("Two.", encoding="utf-8")
    (two,) = read_grid(grid, overrides)
    assert (one.identity, one.name) != (two.identity, two.name)
