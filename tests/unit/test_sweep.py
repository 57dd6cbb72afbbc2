"""A sweep's grid and what it shows of a run, without DVC."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.config import flatten, load_config, parse_config, read_params
from minimal_llm.errors import ConfigurationError
from minimal_llm.examples import examples
from minimal_llm.memory import training_memory_mb
from minimal_llm.recipes import read_recipe
from minimal_llm.sweep.grid import identity, read_grid
from minimal_llm.sweep.progress import live_row
from minimal_llm.training.live import LiveLog
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def grid_file(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_gives_every_combination_once_under_a_name_that_says_which(tmp_path: Path) -> None:
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


def test_threads_are_shared_and_make_no_new_experiment_unless_the_grid_names_them(tmp_path: Path) -> None:
    (alone,) = read_grid(grid_file(tmp_path, "train.epochs: 1\n"), {})
    shared = alone.with_threads(1)
    assert flatten(shared.config)["train.threads"] == 1
    assert "train.threads" in shared.keys
    assert (shared.name, shared.identity) == (alone.name, alone.identity)
    by_hand = parse_config(read_params(), {"train.epochs": 1, "train.threads": 7, "train.keep_checkpoints": 9})
    assert identity(by_hand) == alone.identity
    one, two = read_grid(grid_file(tmp_path, "train.threads: [1, 2]\n"), {})
    assert one.identity != two.identity
    assert one.with_threads(5) == one


def test_a_run_is_shown_with_its_epoch_its_best_loss_and_the_time_left(tmp_path: Path) -> None:
    config = load_config(overrides={"train.epochs": 4})
    folder = tmp_path / "run"
    folder.mkdir()
    log = LiveLog(folder)
    assert live_row("x", config, tmp_path) is None
    log.start(config, 100, 10)
    log.epoch({"epoch": 1, "val_loss": 5.5}, 1.0, True)
    log.epoch({"epoch": 2, "val_loss": 5.75}, 1.0, False)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": "step", "epoch": 3, "step": 50, "tokens_per_s": 20.0}) + "\n")
    row = live_row("x", config, tmp_path)
    assert row is not None
    assert (row.state, row.epoch, row.epochs, row.val_loss) == ("training", 3, 4, 5.5)
    assert row.seconds_left == 150 * 10 / 20
    assert row.line(3) == "x    training     epoch   3/4  val 5.500  1:15 left"
    assert live_row("x", load_config(overrides={"train.epochs": 5}), tmp_path) is None
    log.end("finished")
    row = live_row("x", config, tmp_path)
    assert row is not None
    assert row.state == "validating"
    log.end("interrupted")
    assert live_row("x", config, tmp_path) is None


def test_a_run_whose_process_is_gone_is_not_shown_as_training(tmp_path: Path) -> None:
    config = load_config()
    (tmp_path / "run").mkdir()
    LiveLog(tmp_path / "run").start(config, 100, 10)
    log = tmp_path / "run" / "log.jsonl"
    assert live_row("x", config, tmp_path) is not None
    event = json.loads(log.read_text(encoding="utf-8"))
    log.write_text(json.dumps(event | {"pid": 2**22 + os.getpid()}) + "\n", encoding="utf-8")
    assert live_row("x", config, tmp_path) is None


@pytest.mark.parametrize(
    "text", ["- train.epochs\n", "train.epochs: [1\n", "{}", "train.learning_rat: [0.1]\n", "tran.epochs: [1]\n"]
)
def test_a_file_that_is_no_grid_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_grid(grid_file(tmp_path, text), {})
    assert "grid.yaml" in str(refusal.value)


def test_a_grid_of_too_many_combinations_is_refused(tmp_path: Path) -> None:
    values = list(range(1, 41))
    with pytest.raises(ConfigurationError, match="1,600 combinations"):
        read_grid(grid_file(tmp_path, f"train.epochs: {values}\ntrain.batch_size: {values}\n"), {})


def recipe_config(name: str) -> Any:
    return parse_config(read_params(), read_recipe(examples()[name]))


def test_every_recipe_can_be_used_and_is_what_it_says() -> None:
    recipes = {
        name: recipe_config(name) for name, path in examples().items() if path.suffix == ".yaml" and name != "sweep"
    }
    assert recipes["balanced"] == load_config()
    assert training_memory_mb(recipes["low-memory"]) < training_memory_mb(recipes["balanced"])
    assert recipes["high-quality"].download.megabytes_per_language > recipes["balanced"].download.megabytes_per_language
    assert len(read_grid(examples()["sweep"], {})) == 4
