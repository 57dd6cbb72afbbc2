"""What training and validation refuse or give up on: each with its exit code, its record and a way out."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from minimal_llm.common.files import sha256_of_file
from minimal_llm.model.model_file import to_bytes
from tests.support.stages import copy_folder, run_stage, succeed
from tests.support.training_runs import (
    RUN,
    Malicious,
    check_failure,
    checkpoints,
    failure,
    read,
    start_training,
    wait_for_checkpoint,
)

MEGABYTE = 1_000_000


def scaled(weights: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """The weights of a model that is sure of what is wrong: all finite, its loss is far above a blind guess."""
    return {name: weight * factor if name == "head.weight" else weight for name, weight in weights.items()}


def test_an_estimate_above_the_memory_limit_of_the_process_is_told_before_the_run(
    tokens_folder: Path, tmp_path: Path
) -> None:
    limit = 300 * MEGABYTE
    process = start_training(
        tokens_folder,
        tmp_path,
        ["--batch-size", "16"],
        before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4, stderr
    assert "Out of memory: reduce train.batch_size from 16 to 8 (training needs about 7" in stderr
    assert "MB are free)" in stderr
    assert "make train BATCH_SIZE=8" in stderr
    check_failure(tmp_path, "train", "out_of_memory", stderr)
    assert not (tmp_path / "checkpoints").exists()


def test_memory_that_runs_out_on_the_way_is_told_and_the_checkpoints_stay(tokens_folder: Path, tmp_path: Path) -> None:
    # Evaluation takes larger batches than these, so that it needs memory that training has not taken yet.
    process = start_training(tokens_folder, tmp_path, ["--batch-size", "2", "--checkpoint-every-seconds", "0.1"])
    wait_for_checkpoint(tmp_path, process)
    running = psutil.Process(process.pid)
    taken = running.memory_info().vms
    running.rlimit(psutil.RLIMIT_AS, (taken, taken))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 4, stderr
    assert "Out of memory: set train.compile to never (training needs about 7" in stderr
    check_failure(tmp_path, "train", "out_of_memory", stderr)
    assert all(torch.load(path, weights_only=True) for path in checkpoints(tmp_path))


def test_a_run_that_diverges_stops_with_what_to_change_and_keeps_the_last_good_checkpoint(
    tokens_folder: Path, killed_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(killed_folder, tmp_path)
    good = checkpoints(folder)[-1]
    kept, content = good.read_bytes(), torch.load(good, weights_only=True)
    step = int(good.stem.removeprefix("step_"))
    spoilt = {**content, "model": scaled(content["model"], 300.0)}
    good.with_name(f"step_{step + 1:08d}.pt").write_bytes(to_bytes(spoilt))
    done = run_stage("train", tokens_folder, *RUN, "--keep-checkpoints", "1", "--output-dir", str(folder))
    assert done.returncode == 4
    steps = read(good.parent / "run.json")["steps_per_epoch"]
    epochs, rest = divmod(step + 19, steps)  # the twentieth in a row
    assert f"training diverged in epoch {epochs + 1}, step {rest + 1}: loss " in done.stderr
    assert "(a blind guess has 6.91), gradient norm " in done.stderr
    assert "make train LEARNING_RATE=6.7e-04, or a smaller train.gradient_clip" in done.stderr
    check_failure(folder, "train", "configuration", done.stderr)
    assert good.read_bytes() == kept
    assert not (folder / "best_model.pt").exists()


def test_a_loss_or_gradient_that_is_not_finite_stops_at_that_step_and_is_not_saved(
    tokens_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    content = torch.load(trained_folder / "best_model.pt", weights_only=True)
    initial = tmp_path / "initial.pt"
    initial.write_bytes(to_bytes({**content, "weights": scaled(content["weights"], 1e20)}))
    done = run_stage("train", tokens_folder, "--init-from", str(initial), "--output-dir", str(tmp_path))
    assert done.returncode == 4
    assert "training diverged in epoch 1, step 1: loss " in done.stderr
    assert "gradient norm inf" in done.stderr
    check_failure(tmp_path, "train", "configuration", done.stderr)
    assert not checkpoints(tmp_path)


def test_training_starts_from_the_weights_of_another_model_and_says_so(trained_folder: Path, tmp_path: Path) -> None:
    initial = trained_folder / "best_model.pt"
    flags = ["--init-from", str(initial), "--epochs", "1", "--max-seq-length", "64", "--learning-rate", "0.0005"]
    succeed(run_stage("train", trained_folder, *flags, "--output-dir", str(tmp_path)))
    metrics, earlier = (read(folder / "training_metrics.json") for folder in (tmp_path, trained_folder))
    assert metrics["final_metrics"]["init_from_sha256"] == sha256_of_file(initial)
    assert metrics["configuration"]["train.init_from"] == str(initial)
    assert metrics["run_id"] != earlier["run_id"]
    assert metrics["epoch_history"][0]["val_loss"] < earlier["epoch_history"][1]["val_loss"]
    assert earlier["final_metrics"]["init_from_sha256"] == ""


def test_a_model_of_another_tokenizer_and_architecture_is_no_start_and_both_sides_are_shown(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(trained_folder, tmp_path / "a")
    initial = tmp_path / "other.pt"
    initial.write_bytes((trained_folder / "best_model.pt").read_bytes())
    succeed(run_stage("tokenizer", folder, "--vocab-size", "1100"))
    there, here = (read(f / "tokens" / "meta.json")["tokenizer_sha256"][:12] for f in (trained_folder, folder))
    stderr = failure(folder, "train", 4, "configuration", "--init-from", str(initial), "--d-model", "128")
    for told in (str(initial), f"tokenizer {there} there, {here} here", "vocab_size 1000 there, 1100 here"):
        assert told in stderr
    assert "d_model 64 there, 128 here" in stderr
    assert "layers" not in stderr


def damaged(model: Path, damage: str, trace: Path) -> bytes | None:
    """A model file that is not to be used, or None for no file at all."""
    content: dict[str, Any] = torch.load(model, weights_only=True)
    match damage:
        case "truncated":
            return model.read_bytes()[:5000]
        case "not finite":
            return to_bytes({**content, "weights": scaled(content["weights"], float("inf"))})
        case "malicious":
            return to_bytes({**content, "model_version": Malicious(trace)})
    return None


DAMAGES = ("missing", "truncated", "not finite", "malicious")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_that_cannot_be_trusted_is_exit_5(trained_folder: Path, tmp_path: Path, damage: str) -> None:
    folder, trace = copy_folder(trained_folder, tmp_path / "a"), tmp_path / "executed"
    file = folder / "best_model.pt"
    content = damaged(file, damage, trace)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert str(file) in failure(folder, "validate", 5, "validation_failure")
    assert not trace.exists()


@pytest.mark.parametrize("damage", ["missing", "malicious"])
def test_a_model_that_cannot_be_trusted_is_no_start_either(trained_folder: Path, tmp_path: Path, damage: str) -> None:
    folder, trace, initial = copy_folder(trained_folder, tmp_path / "a"), tmp_path / "executed", tmp_path / "other.pt"
    content = damaged(folder / "best_model.pt", damage, trace)
    if content is not None:
        initial.write_bytes(content)
    stderr = failure(folder, "train", 4, "configuration", "--init-from", str(initial))
    assert f"train.init_from: {initial}" in stderr
    assert not trace.exists()


def test_tokens_of_another_tokenizer_are_refused_with_both_hashes(trained_folder: Path, tmp_path: Path) -> None:
    folder, other = copy_folder(trained_folder, tmp_path / "a"), copy_folder(trained_folder, tmp_path / "b")
    succeed(run_stage("tokenizer", other, "--vocab-size", "1100"))
    (folder / "bilingual_8k.model").write_bytes((other / "bilingual_8k.model").read_bytes())
    ours, theirs = (read(f / "tokens" / "meta.json")["tokenizer_sha256"][:12] for f in (folder, other))
    told = f"the token files were made by tokenizer {ours}, the one here is {theirs}"
    assert told in failure(folder, "train", 4, "configuration")
    told = f"was trained with tokenizer {ours}, the one here is {theirs}"
    assert told in failure(folder, "validate", 5, "validation_failure")


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
