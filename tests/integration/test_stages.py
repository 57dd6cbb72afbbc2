"""Each stage through its own command line."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest
import torch

from minimal_llm.common.artifacts import PICTURES, STAGES, VARIANTS, Artifacts
from minimal_llm.common.files import read_sealed, write_sealed
from minimal_llm.inference.benchmark import MEASURED_TOKENS
from tests.support.report_numbers import unknown_numbers
from tests.support.stages import copy_folder, run_stage, succeed
from tests.support.training_runs import EQUAL_FOR_EQUAL_RUNS, failure, read


def test_every_stage_makes_what_is_declared_and_nothing_else(validated_folder: Path) -> None:
    artifacts = Artifacts(validated_folder)
    declared = {path for stage in STAGES for path in artifacts.outputs(stage)}
    assert all(path.exists() for path in declared)
    undeclared = {artifacts.checkpoints, artifacts.status, artifacts.raw_books}
    made = {path for path in validated_folder.rglob("*") if path.is_file()}
    allowed = declared | undeclared
    assert not {path for path in made if not any(path == a or a in path.parents for a in allowed)}


def test_all_metrics_and_the_report_say_which_corpus_it_was(validated_folder: Path) -> None:
    for name in ("tokenizer", "train", "validation"):
        assert read(validated_folder / "metrics" / f"{name}.json")["corpus"] == "primer"
    assert read(validated_folder / "training_metrics.json")["corpus"] == {"source": "primer", "fallback": False}
    report = (validated_folder / "report.md").read_text(encoding="utf-8")
    assert "Corpus: **primer**" in report
    assert "these results do not carry over to real books" in report


def test_the_report_says_what_the_metrics_say_and_shows_pictures_that_are_there(validated_folder: Path) -> None:
    files = [read(path) for path in (validated_folder / "metrics").glob("*.json")]
    manifest = read(validated_folder / "corpus_manifest.json")
    files += [read(validated_folder / "training_metrics.json"), manifest["bytes_per_language"]]
    with (validated_folder / "plots" / "latency.csv").open(encoding="utf-8") as stream:
        bins = list(csv.DictReader(stream))
    gates = [gate["passed"] for file in files for gate in file.get("gates", {}).values()]
    languages = Counter(entry["language"] for entry in manifest["documents"])
    counts = [len(gates), sum(gates), len(manifest["documents"]), *languages.values()]
    page = (validated_folder / "report.md").read_text(encoding="utf-8")
    assert unknown_numbers(page, files, counts) == []
    pictures = re.findall(r' srcset="(plots/\S+\.png)"><img alt="[^"]+\." src="(plots/\S+\.png)"></picture>', page)
    dark, light = zip(*pictures, strict=True)
    artifacts = Artifacts(validated_folder)
    assert [validated_folder / name for name in light] == [artifacts.picture(name) for name in PICTURES]
    assert [validated_folder / name for name in dark] == [artifacts.picture(name, "-dark") for name in PICTURES]
    assert {row["runtime"]: 0 for row in bins}.keys() == {"PyTorch", "ONNX", "ONNX int8"}
    assert sum(int(row["tokens"]) for row in bins) == 3 * MEASURED_TOKENS


def test_summary_and_cost_repeat_the_metrics_of_the_other_files(validated_folder: Path) -> None:
    metrics = validated_folder / "metrics"
    quality, train, speed = (read(metrics / f"{name}.json") for name in ("validation", "train", "train_speed"))
    fp32 = read(metrics / "inference.json")["fp32"]
    assert read(metrics / "summary.json") == {
        "val_loss": pytest.approx(quality["val_loss"], abs=1e-4),
        "bits_per_byte": pytest.approx(quality["val_bits_per_byte"], abs=1e-4),
        "test_bits_per_byte": pytest.approx(quality["test_bits_per_byte"], abs=1e-4),
        "gap": pytest.approx(quality["gap"], abs=1e-4),
        "grammar": pytest.approx(sum(quality[name]["grammar"]["share"] for name in ("en", "es")) / 2, abs=1e-4),
        "best_epoch": train["best_epoch"],
    }
    assert read(metrics / "cost.json") == {
        "train_minutes": pytest.approx(speed["total_seconds"] / 60, abs=0.01),
        "train_peak_mb": pytest.approx(speed["peak_memory_mb"], abs=1),
        "p95_ms": pytest.approx(fp32["latency_p95_ms"], abs=0.01),
        "peak_mb": pytest.approx(fp32["peak_mb"], abs=1),
    }


def test_validating_again_gives_equal_quality_and_pictures_of_training(validated_folder: Path, tmp_path: Path) -> None:
    succeed(run_stage("validate", validated_folder, "--output-dir", str(tmp_path)))
    pictures = ["loss", "learning_rate", "gradient_norm", "bits_per_byte"]
    drawn = [f"plots/{name}{variant}.png" for name in pictures for variant in VARIANTS]
    for name in ["metrics/validation.json", "metrics/summary.json", *drawn]:
        assert (tmp_path / name).read_bytes() == (validated_folder / name).read_bytes(), name


def test_a_corpus_of_one_language_and_a_run_of_one_epoch_have_a_report_and_a_missed_gate_is_a_warning(
    corpus_folder: Path, tmp_path: Path
) -> None:
    manifest = read(corpus_folder / "corpus_manifest.json")
    lines = (corpus_folder / "corpus_bilingual.txt").read_text(encoding="utf-8").split("\n")
    spanish = [entry for entry in manifest["documents"] if entry["language"] == "es"]
    paragraphs = [line for entry in spanish for line in lines[entry["first_line"] - 1 : entry["last_line"]]]
    own = tmp_path / "own.txt"
    own.write_text("\n\n".join(paragraphs), encoding="utf-8")
    succeed(run_stage("download", tmp_path / "out", "--corpus-path", str(own), tiny=False))
    succeed(run_stage("tokenizer", tmp_path / "out"))
    succeed(run_stage("train", tmp_path / "out", "--epochs", "1"))
    done = succeed(run_stage("validate", tmp_path / "out", "--max-validation-loss", "0.5"))
    assert "checks failed: validation_loss" in done.stderr
    gate = read(tmp_path / "out" / "metrics" / "validation.json")["gates"]["validation_loss"]
    assert (gate["bound"], gate["passed"]) == (0.5, False)
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Corpus: **files**, 1 document:" in page
    assert "The validation text contains no English." in page
    assert "lowest after epoch 1 of 1" in page


def test_a_training_record_of_another_version_is_refused_and_the_report_stays(
    validated_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(validated_folder, tmp_path)
    record = read_sealed(folder / "training_metrics.json")
    del record["configuration"]["train.dropout"]
    write_sealed(folder / "training_metrics.json", record)
    assert "'train.dropout' is missing" in failure(folder, "validate", 5, "validation_failure")
    steps = folder / "plots" / "steps.csv"
    shutil.copy(validated_folder / "training_metrics.json", folder)
    steps.write_text(steps.read_text(encoding="utf-8").replace("1", "2", 1), encoding="utf-8")
    assert f"{steps} is not the one of this run" in failure(folder, "validate", 5, "validation_failure")
    (folder / "metrics" / "train_speed.json").unlink()
    assert "train_speed.json is missing" in failure(folder, "validate", 5, "validation_failure")


def test_training_records_what_it_did(trained_folder: Path) -> None:
    metrics = read(trained_folder / "training_metrics.json")
    assert [row["epoch"] for row in metrics["epoch_history"]] == [1, 2]
    for row in metrics["epoch_history"]:
        assert set(row) == {"epoch", "step", "train_loss", "val_loss", "learning_rate", "gradient_norm", "samples"}
        assert row["samples"]["en"].startswith("Once upon a time")
        assert row["samples"]["es"].startswith("Había una vez")
    assert metrics["epoch_history"][1]["train_loss"] < metrics["epoch_history"][0]["train_loss"]
    assert metrics["configuration"]["train.epochs"] == 2
    assert metrics["final_metrics"] == read(trained_folder / "metrics" / "train.json")
    speed = read(trained_folder / "metrics" / "train_speed.json")
    assert speed["total_seconds"] > 0
    assert speed["threads"] == 1
    assert [name.split(",")[0] for name in speed["kernels"]] == [f"torch {torch.__version__}"]
    lines = (trained_folder / "plots" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,learning_rate,gradient_norm"
    assert len(lines) == 3
    with (trained_folder / "plots" / "steps.csv").open(encoding="utf-8") as stream:
        steps = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
    assert list(steps[0]) == ["step", "batch_loss", "learning_rate", "gradient_norm", "clipped"]
    assert [row["step"] for row in steps] == list(range(1, metrics["final_metrics"]["steps"] + 1))
    assert steps[-1]["learning_rate"] == pytest.approx(metrics["epoch_history"][-1]["learning_rate"])
    for number, row in enumerate(metrics["epoch_history"]):  # the mean of an epoch is that of its steps
        first = metrics["epoch_history"][number - 1]["step"] if number else 0
        assert mean(step["gradient_norm"] for step in steps[first : row["step"]]) == pytest.approx(row["gradient_norm"])
    clip = metrics["configuration"]["train.gradient_clip"]
    assert all(step["clipped"] == (step["gradient_norm"] > clip) for step in steps)
    assert metrics["final_metrics"]["clipped_share"] == mean(step["clipped"] for step in steps)


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


def test_a_vocabulary_too_large_for_the_corpus_is_exit_3_with_the_number_that_works(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    stderr = failure(folder, "tokenizer", 3, "configuration", "--vocab-size", "32000")
    size = int(stderr.rpartition("VOCAB_SIZE=")[2].split()[0])
    succeed(run_stage("tokenizer", folder, "--vocab-size", str(size)))


def test_a_corpus_too_small_to_split_is_exit_3(corpus_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(corpus_folder, tmp_path)
    assert "the val split would be empty" in failure(
        folder, "tokenizer", 3, "configuration", "--validation-fraction", "0.01"
    )


def test_a_missing_corpus_is_reported_with_the_command_that_makes_it(tmp_path: Path) -> None:
    assert "dvc repro download" in failure(tmp_path, "tokenizer", 2, "validation_failure")


def test_a_missed_gate_is_an_error_when_strict(trained_folder: Path, tmp_path: Path) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    strict = run_stage("validate", folder, "--max-validation-loss", "0.5", "--strict", "true")
    assert strict.returncode == 5
    assert "checks failed: validation_loss" in strict.stderr


def test_a_folder_that_cannot_be_written_is_named(tokens_folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is needed", encoding="utf-8")
    done = run_stage("train", tokens_folder, "--output-dir", str(blocked / "runs"))
    assert done.returncode == 4
    assert "blocked" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_model_has_one_loss_to_the_last_digit_wherever_it_is_written(validated_folder: Path) -> None:
    train, validation, summary = (
        read(validated_folder / "metrics" / f"{name}.json") for name in ("train", "validation", "summary")
    )
    record = read(validated_folder / "training_metrics.json")
    best = record["epoch_history"][train["best_epoch"] - 1]
    rows = (validated_folder / "plots" / "history.csv").read_text(encoding="utf-8").splitlines()
    for name in ("val_loss", "val_perplexity", "val_bits_per_byte", "gap", "train_loss"):
        assert train[name] == validation[name], name
    assert train["unigram_loss"] == validation["baselines"]["unigram"]
    assert best["val_loss"] == record["final_metrics"]["val_loss"] == train["val_loss"]
    assert summary["val_loss"] == round(train["val_loss"], 4)
    assert float(rows[train["best_epoch"]].split(",")[2]) == float(f"{train['val_loss']:.8g}")
