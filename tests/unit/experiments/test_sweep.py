"""A sweep's grid and what it shows of a run, without DVC."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.common.config import flatten, load_config, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.live_log import LiveLog
from minimal_llm.experiments.example import examples
from minimal_llm.experiments.recipes import read_recipe
from minimal_llm.experiments.sweep.grid import identity, read_grid
from minimal_llm.experiments.sweep.progress import LiveRuns
from minimal_llm.pipeline.memory_estimate import training_memory_mb
from tests.support.stages import ROOT


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


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A live log of this process, which works in a copy of the repository with four epochs and a small vocabulary."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["train"]["epochs"], params["tokenizer"]["vocab_size"] = 4, 1000
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)
    LiveLog(tmp_path / "checkpoints" / "run").start(load_config(), 100, 10)
    return tmp_path / "checkpoints" / "run" / "log.jsonl"


def append(log: Path, *events: dict[str, Any]) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_a_run_is_shown_with_its_epoch_its_best_loss_and_the_time_left(training: Path) -> None:
    runs = LiveRuns(training.parent.parent, by_threads=False)
    append(training, {"event": "epoch", "epoch": 1, "val_loss": 5.5}, {"event": "epoch", "epoch": 2, "val_loss": 5.75})
    append(training, {"event": "step", "epoch": 3, "step": 50, "tokens_per_s": 20.0})
    ((which, row),) = runs.rows().items()
    assert which == identity(load_config())  # of the vocabulary as well, of which the log says nothing
    assert (row.state, row.epoch, row.epochs, row.val_loss) == ("training", 3, 4, 5.5)
    assert row.seconds_left == 150 * 10 / 20
    assert replace(row, name="x").line(3) == "x    training     epoch   3/4  val 5.500  1:15 left"
    append(training, {"event": "end", "state": "finished"})
    assert runs.rows()[which].state == "validating"
    append(training, {"event": "end", "state": "interrupted"})
    assert runs.rows() == {}


def test_a_run_whose_process_is_gone_is_not_shown_as_training(training: Path) -> None:
    runs = LiveRuns(training.parent.parent, by_threads=False)
    assert len(runs.rows()) == 1
    event = json.loads(training.read_text(encoding="utf-8"))
    training.write_text(json.dumps(event | {"pid": 2**22 + os.getpid()}) + "\n", encoding="utf-8")
    assert runs.rows() == {}


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
