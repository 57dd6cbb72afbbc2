"""Inputs that training and validation refuse, and training that fails: exit code, status file and what to do."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.files import sha256_of_file
from minimal_llm.tokenizer.build import build_tokens
from minimal_llm.training.train import train
from tests.support.stages import copy_folder, run_stage, succeed
from tests.support.training_runs import (
    RUN,
    Malicious,
    check_failure,
    checkpoints,
    failure,
    read,
    refusal,
    start_training,
    tiny_config,
    torch_bytes,
    wait_for_checkpoint,
)

MEGABYTE = 1_000_000


def scaled(weights: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """Weights of a model that is confident of wrong tokens: all finite, but the loss is far above a uniform guess."""
    return {name: weight * factor if name == "norm.weight" else weight for name, weight in weights.items()}


def test_too_little_memory_is_reported_before_training_starts(tokens_folder: Path, tmp_path: Path) -> None:
    limit = 300 * MEGABYTE
    process = start_training(
        tokens_folder,
        tmp_path,
        ["--batch-size", "16"],
        before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4, stderr
    assert "Out of memory: reduce train.batch_size from 16 to 8 (training needs about 5" in stderr
    assert "MB are free)" in stderr
    assert "make train BATCH_SIZE=8" in stderr
    check_failure(tmp_path, "train", "out_of_memory", stderr)
    assert not (tmp_path / "checkpoints").exists()


def test_running_out_of_memory_is_reported_and_the_checkpoints_are_intact(tokens_folder: Path, tmp_path: Path) -> None:
    # Evaluation uses larger batches than this, so it needs memory that training has not allocated yet.
    process = start_training(tokens_folder, tmp_path, ["--batch-size", "2", "--checkpoint-every-seconds", "0.1"])
    wait_for_checkpoint(tmp_path, process)
    running = psutil.Process(process.pid)
    used = running.memory_info().vms
    running.rlimit(psutil.RLIMIT_AS, (used, used))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 4, stderr
    assert "Out of memory: reduce train.batch_size from 2 to 1 (training needs about 4" in stderr
    check_failure(tmp_path, "train", "out_of_memory", stderr)
    assert all(torch.load(path, weights_only=True) for path in checkpoints(tmp_path))


@pytest.mark.parametrize("before", [0, 15])
def test_a_diverging_run_stops_says_what_to_change_and_keeps_the_last_good_checkpoint(
    tokens_folder: Path, killed_folder: Path, tmp_path: Path, before: int
) -> None:
    """Whether it began to diverge after the checkpoint, or some steps before."""
    folder = copy_folder(killed_folder, tmp_path)
    good = checkpoints(folder)[-1]
    kept, content = good.read_bytes(), torch.load(good, weights_only=True)
    step = int(good.stem.removeprefix("step_"))
    progress = {**content["progress"], "steps_diverged": before}
    diverging = {**content, "progress": progress, "model": scaled(content["model"], 300.0)}
    good.with_name(f"step_{step + 1:08d}.pt").write_bytes(torch_bytes(diverging))
    done = run_stage("train", tokens_folder, *RUN, "--keep-checkpoints", "1", "--output-dir", str(folder))
    assert done.returncode == 4
    steps = read(good.parent / "run.json")["steps_per_epoch"]
    epochs, rest = divmod(step + 19 - before, steps)  # the twentieth in a row
    assert f"training diverged in epoch {epochs + 1}, step {rest + 1}: loss " in done.stderr
    assert "(a uniform guess has 6.91), gradient norm " in done.stderr
    assert "make train LEARNING_RATE=1.3e-03" in done.stderr
    check_failure(folder, "train", "configuration", done.stderr)
    assert good.read_bytes() == kept
    assert not (folder / "best_model.pt").exists()


def test_a_gradient_that_is_not_finite_stops_training_at_that_step_and_is_not_saved(
    tokens_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    content = torch.load(trained_folder / "best_model.pt", weights_only=True)
    initial = tmp_path / "initial.pt"
    initial.write_bytes(torch_bytes({**content, "weights": scaled(content["weights"], 1e20)}))
    error = refusal("train", copy_folder(tokens_folder, tmp_path / "run"), init_from=str(initial))
    assert (error.exit_code, error.kind) == (4, "configuration")
    assert "training diverged in epoch 1, step 1: loss " in error.message
    assert "gradient norm inf" in error.message
    assert not checkpoints(tmp_path / "run")


def test_a_run_that_learns_nothing_says_so_while_it_trains(
    tokens_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, outputs = Artifacts(tokens_folder), Artifacts(tmp_path)
    train(tiny_config("train", epochs=1, batch_size=2, max_seq_length=32, learning_rate=1e-5), inputs, outputs)
    told = re.search(
        r"warning: after (\S+) steps, the validation loss is (\S+), no better than a guess by how frequent each token "
        r"is \((\S+)\): this run is probably broken. What to do: make train LEARNING_RATE=3.3e-06",
        capsys.readouterr().err,
    )
    assert told
    assert float(told[2]) >= float(told[3])


def test_training_starts_from_the_weights_of_another_model_and_records_its_hash(
    trained_folder: Path, tmp_path: Path
) -> None:
    initial = trained_folder / "best_model.pt"
    flags = ["--init-from", str(initial), "--epochs", "1", "--max-seq-length", "64", "--learning-rate", "0.0005"]
    succeed(run_stage("train", trained_folder, *flags, "--output-dir", str(tmp_path)))
    metrics, earlier = (read(folder / "training_metrics.json") for folder in (tmp_path, trained_folder))
    assert metrics["final_metrics"]["init_from_sha256"] == sha256_of_file(initial)
    assert metrics["configuration"]["train.init_from"] == str(initial)
    assert metrics["run_id"] != earlier["run_id"]
    assert metrics["epoch_history"][0]["val_loss"] < earlier["epoch_history"][1]["val_loss"]
    assert earlier["final_metrics"]["init_from_sha256"] == ""


@pytest.fixture(scope="module")
def other_folder(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained folder with another tokenizer and its token files. Do not write into it."""
    folder = copy_folder(trained_folder, tmp_path_factory.mktemp("other"))
    build_tokens(tiny_config("tokenizer", vocab_size=1100), Artifacts(folder), Artifacts(folder))
    return folder


def tokenizer_hash(folder: Path) -> str:
    """The hash of the tokenizer of the token files, as messages show it."""
    return str(read(folder / "tokens" / "meta.json")["tokenizer_sha256"])[:12]


def test_initial_weights_with_another_tokenizer_and_architecture_are_refused_and_the_differences_listed(
    trained_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    folder, initial = copy_folder(other_folder, tmp_path), trained_folder / "best_model.pt"
    stderr = failure(folder, "train", 4, "configuration", "--init-from", str(initial), "--d-model", "128")
    assert str(initial) in stderr
    assert f"tokenizer is {tokenizer_hash(trained_folder)} there, {tokenizer_hash(folder)} here" in stderr
    assert "vocab_size is 1000 there, 1100 here" in stderr
    assert "d_model is 64 there, 128 here" in stderr
    assert "layers" not in stderr


def damaged(model: Path, damage: str, trace: Path) -> bytes | None:
    """The content of a model file that must be refused, or None for a missing file."""
    content: dict[str, Any] = torch.load(model, weights_only=True)
    match damage:
        case "truncated":
            return model.read_bytes()[:5000]
        case "not finite":
            return torch_bytes({**content, "weights": scaled(content["weights"], float("inf"))})
        case "malicious":
            return torch_bytes({**content, "model_version": Malicious(trace)})
    return None


def damage(model: Path, kind: str, trace: Path) -> Path:
    """Damage a model file, or delete it; return its path."""
    content = damaged(model, kind, trace)
    model.unlink()
    if content is not None:
        model.write_bytes(content)
    return model


def test_a_malicious_model_fails_validation_with_exit_code_5_and_is_not_executed(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder, trace = copy_folder(trained_folder, tmp_path / "a"), tmp_path / "executed"
    model = damage(folder / "best_model.pt", "malicious", trace)
    assert str(model) in failure(folder, "validate", 5, "validation_failure")
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["missing", "truncated", "not finite"])
def test_a_damaged_model_fails_validation(trained_folder: Path, tmp_path: Path, kind: str) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    model = damage(folder / "best_model.pt", kind, tmp_path / "executed")
    error = refusal("validate", folder)
    assert (error.exit_code, error.kind) == (5, "validation_failure")
    assert str(model) in error.message


@pytest.mark.parametrize("kind", ["missing", "malicious"])
def test_a_damaged_model_is_refused_as_initial_weights(trained_folder: Path, tmp_path: Path, kind: str) -> None:
    folder, trace = copy_folder(trained_folder, tmp_path / "a"), tmp_path / "executed"
    initial = damage(copy_folder(trained_folder, tmp_path / "b") / "best_model.pt", kind, trace)
    error = refusal("train", folder, init_from=str(initial))
    assert (error.exit_code, error.kind) == (4, "configuration")
    assert f"train.init_from: {initial}" in error.message
    assert not trace.exists()


def test_tokens_of_another_tokenizer_are_refused_with_both_hashes(
    trained_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(trained_folder, tmp_path)
    (folder / "bilingual_8k.model").write_bytes((other_folder / "bilingual_8k.model").read_bytes())
    hashes = f"with tokenizer {tokenizer_hash(folder)}, but the current one is {tokenizer_hash(other_folder)}"
    error = refusal("train", folder)
    assert (error.exit_code, error.kind) == (4, "configuration")
    assert f"the token files were written {hashes}" in error.message
    error = refusal("validate", folder)
    assert (error.exit_code, error.kind) == (5, "validation_failure")
    assert f"was trained {hashes}" in error.message


@pytest.mark.parametrize("kind", ["missing", "truncated", "outside the vocabulary"])
def test_damaged_token_files_are_refused(tokens_folder: Path, tmp_path: Path, kind: str) -> None:
    folder = copy_folder(tokens_folder, tmp_path)
    file = folder / "tokens" / "train.bin"
    content = file.read_bytes()
    if kind == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-2] if kind == "truncated" else content[:-2] + b"\xff\xff")
    error = refusal("train", folder)
    assert (error.exit_code, error.kind) == (4, "configuration")
    assert str(file) in error.message
