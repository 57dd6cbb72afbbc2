"""Each stage through its own command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from minimal_llm.artifacts import STAGES, Artifacts
from tests.conftest import ROOT, TINY, clean_environment, copy_folder, run_stage, succeed

EQUAL_FOR_EQUAL_RUNS = (
    "best_model.pt",
    "final_model.pt",
    "training_metrics.json",
    "metrics/train.json",
    "plots/history.csv",
)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def outcome(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in EQUAL_FOR_EQUAL_RUNS}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_that_was_stopped_goes_on_to_the_same_bytes(
    tokens_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    flags = ["--epochs", "6"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    succeed(run_stage("train", tokens_folder, *flags, "--output-dir", str(whole)))
    process = start_training(tokens_folder, stopped, flags)
    wait_for_checkpoint(stopped, process)
    process.send_signal(number)
    process.send_signal(number)  # a second one does no harm
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "everything up to there is saved" in stderr
    assert "Traceback" not in stderr
    assert not (stopped / "best_model.pt").exists()
    assert read(stopped / "pipeline_status.json")["error"]["kind"] == "interrupted"
    done = succeed(run_stage("train", tokens_folder, *flags, "--output-dir", str(stopped)))
    assert "resuming after epoch" in done.stdout
    assert outcome(stopped) == outcome(whole)


def test_changed_parameters_never_go_on_from_another_run(tokens_folder: Path, tmp_path: Path) -> None:
    process = start_training(tokens_folder, tmp_path, ["--epochs", "50"])
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    done = succeed(run_stage("train", tokens_folder, "--learning-rate", "0.002", "--output-dir", str(tmp_path)))
    assert "resuming" not in done.stdout


def test_a_second_trainer_on_the_same_run_is_refused_with_the_pid_of_the_first(
    tokens_folder: Path, tmp_path: Path
) -> None:
    flags = ["--epochs", "50"]
    first = start_training(tokens_folder, tmp_path, flags)
    wait_for_checkpoint(tmp_path, first)
    second = run_stage("train", tokens_folder, *flags, "--output-dir", str(tmp_path))
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert second.returncode == 4
    assert f"another trainer (pid {first.pid})" in second.stderr


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(tokens_folder: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "40", "--checkpoint-every-epochs", "1"]
    process = start_training(tokens_folder, tmp_path, flags)
    wait_for_checkpoint(tmp_path, process, count=2)
    process.kill()
    process.communicate(timeout=60)
    newest = sorted(tmp_path.glob("checkpoints/*/step_*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    process = start_training(tokens_folder, tmp_path, flags)
    wait_for_checkpoint(tmp_path, process, newer_than=newest)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert f"passing over checkpoint {newest}" in stderr
    assert "resuming after epoch" in stdout


def start_training(tokens: Path, output: Path, flags: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "stages/train.py", "--data-dir", str(tokens), "--output-dir", str(output)]
    return subprocess.Popen(
        [*command, *TINY["train"], *flags],
        cwd=ROOT,
        env=clean_environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_checkpoint(
    folder: Path, process: subprocess.Popen[str], count: int = 1, newer_than: Path | None = None
) -> None:
    for _ in range(1200):
        found = sorted(folder.glob("checkpoints/*/step_*.pt"))
        if len(found) >= count and (newer_than is None or found[-1].name > newer_than.name):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    pytest.fail("no checkpoint within a minute")


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


def failure(folder: Path, stage: str, code: int, kind: str, *flags: str) -> str:
    """The stderr of a stage that must fail, after checking exit code, status record and that nothing else changed."""
    artifacts = Artifacts(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != artifacts.status}
    done = run_stage(stage, folder, *flags)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "What to do:" in done.stderr
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != artifacts.status}
    after = {path: content for path, content in after.items() if artifacts.checkpoints not in path.parents}
    assert after == {path: content for path, content in before.items() if artifacts.checkpoints not in path.parents}
    status = read(artifacts.status)
    assert (status["state"], status["error"]["phase"], status["error"]["kind"]) == ("failed", stage, kind)
    assert any("error:" in line for line in status["error"]["stderr"])
    return done.stderr


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


def test_tokens_of_another_tokenizer_are_refused_with_both_hashes(trained_folder: Path, tmp_path: Path) -> None:
    folder, other = copy_folder(trained_folder, tmp_path / "a"), copy_folder(trained_folder, tmp_path / "b")
    succeed(run_stage("tokenizer", other, "--vocab-size", "1100"))
    (folder / "bilingual_8k.model").write_bytes((other / "bilingual_8k.model").read_bytes())
    assert "the token files were made by tokenizer" in failure(folder, "train", 4, "configuration")
    assert "was trained with tokenizer" in failure(folder, "validate", 5, "validation_failure")


@pytest.mark.parametrize("damage", ["missing", "truncated", "outside"])
def test_token_files_that_do_not_fit_are_refused(tokens_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = copy_folder(tokens_folder, tmp_path)
    file = folder / "tokens" / "train.bin"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-2] if damage == "truncated" else content[:-2] + b"\xff\xff")
    assert "train.bin" in failure(folder, "train", 4, "configuration")


@pytest.mark.parametrize("damage", ["missing", "truncated", "not finite"])
def test_a_model_that_cannot_be_trusted_is_exit_5(trained_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    file = folder / "best_model.pt"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        content = torch.load(file, weights_only=True)
        content["weights"]["head.weight"][0, 0] = float("inf")
        torch.save(content, file)
    assert "best_model.pt" in failure(folder, "validate", 5, "validation_failure")


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
