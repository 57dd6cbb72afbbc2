"""Each stage through its own command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minimal_llm.artifacts import STAGES, Artifacts
from tests.conftest import copy_folder, run_stage, succeed
from tests.training_runs import EQUAL_FOR_EQUAL_RUNS, failure, read


def test_every_stage_makes_what_is_declared_and_nothing_else(trained_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    done = succeed(run_stage("validate", folder))
    artifacts = Artifacts(folder)
    declared = {path for stage in STAGES for path in artifacts.outputs(stage)}
    assert all(path.exists() for path in declared)
    undeclared = {artifacts.checkpoints, artifacts.status, artifacts.raw_books}
    made = {path for path in folder.rglob("*") if path.is_file()}
    allowed = declared | undeclared
    assert not {path for path in made if not any(path == a or a in path.parents for a in allowed)}
    assert "gates:" in done.stdout


def test_all_metrics_and_the_report_say_which_corpus_it_was(trained_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    succeed(run_stage("validate", folder))
    for name in ("tokenizer", "train", "validation"):
        assert read(folder / "metrics" / f"{name}.json")["corpus"] == "primer"
    assert read(folder / "training_metrics.json")["corpus"] == {"source": "primer", "fallback": False}
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "Corpus: **primer**" in report
    assert "its figures say nothing about books" in report


def test_training_records_what_it_did(trained_folder: Path) -> None:
    metrics = read(trained_folder / "training_metrics.json")
    assert [row["epoch"] for row in metrics["epoch_history"]] == [1, 2]
    for row in metrics["epoch_history"]:
        assert set(row) == {"epoch", "train_loss", "val_loss", "learning_rate", "gradient_norm", "samples"}
        assert row["samples"]["en"].startswith("Once upon a time")
        assert row["samples"]["es"].startswith("Había una vez")
    assert metrics["epoch_history"][1]["train_loss"] < metrics["epoch_history"][0]["train_loss"]
    assert metrics["configuration"]["train.epochs"] == 2
    assert metrics["final_metrics"] == read(trained_folder / "metrics" / "train.json")
    speed = read(trained_folder / "metrics" / "train_speed.json")
    assert speed["total_seconds"] > 0
    assert (speed["threads"], speed["torch_version"]) == (1, torch.__version__)
    lines = (trained_folder / "plots" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,learning_rate,gradient_norm"
    assert len(lines) == 3


def test_equal_inputs_give_equal_bytes_in_every_stage(
    corpus_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "elsewhere"
    for stage in ("download", "tokenizer", "train"):
        succeed(run_stage(stage, again))
    names = ["corpus_bilingual.txt", "corpus_manifest.json", "bilingual_8k.model", "bilingual_8k.vocab"]
    names += ["tokens/train.bin", "tokens/val.bin", "tokens/meta.json", "metrics/tokenizer.json", *EQUAL_FOR_EQUAL_RUNS]
    for name in names:
        assert (again / name).read_bytes() == (trained_folder / name).read_bytes(), name


def test_another_seed_gives_another_model_and_another_run_id(trained_folder: Path, tmp_path: Path) -> None:
    succeed(run_stage("train", trained_folder, "--seed", "7", "--output-dir", str(tmp_path)))
    assert (tmp_path / "best_model.pt").read_bytes() != (trained_folder / "best_model.pt").read_bytes()
    assert (
        read(tmp_path / "training_metrics.json")["run_id"] != read(trained_folder / "training_metrics.json")["run_id"]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_help_names_the_parameters_and_a_wrong_value_is_refused_before_any_work(stage: str, tmp_path: Path) -> None:
    done = succeed(run_stage(stage, tmp_path, "--help", tiny=False))
    assert "--output-dir" in done.stdout
    wrong = {
        "download": "--primer-megabytes",
        "tokenizer": "--vocab-size",
        "train": "--epochs",
        "validate": "--max-gap",
    }[stage]
    done = run_stage(stage, tmp_path, wrong, "-5", tiny=False)
    assert done.returncode == 1
    assert "= -5" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_vocabulary_that_the_corpus_cannot_give_is_exit_3_with_the_number_that_works(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    stderr = failure(folder, "tokenizer", 3, "configuration", "--vocab-size", "32000")
    size = int(stderr.rpartition("VOCAB_SIZE=")[2].split()[0])
    succeed(run_stage("tokenizer", folder, "--vocab-size", str(size)))


def test_a_corpus_too_small_to_split_is_exit_3(corpus_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(corpus_folder, tmp_path)
    assert "leaves nothing for val" in failure(folder, "tokenizer", 3, "configuration", "--validation-fraction", "0.01")


def test_a_missing_corpus_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    assert "dvc repro download" in failure(tmp_path, "tokenizer", 2, "validation_failure")


def test_a_missed_gate_is_a_warning_and_an_error_only_when_strict(trained_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    done = succeed(run_stage("validate", folder, "--max-validation-loss", "0.5"))
    assert "WARNING: gates missed: validation_loss" in done.stderr
    gate = read(folder / "metrics" / "validation.json")["gates"]["validation_loss"]
    assert (gate["bound"], gate["passed"]) == (0.5, False)
    strict = run_stage("validate", folder, "--max-validation-loss", "0.5", "--strict", "true")
    assert strict.returncode == 5
    assert "gates missed: validation_loss" in strict.stderr


def test_a_folder_that_cannot_be_written_is_told_by_name(tokens_folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is needed", encoding="utf-8")
    done = run_stage("train", tokens_folder, "--output-dir", str(blocked / "runs"))
    assert done.returncode == 4
    assert "blocked" in done.stderr
    assert "Traceback" not in done.stderr
