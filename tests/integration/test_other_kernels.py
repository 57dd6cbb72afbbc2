"""Runs that resume on another machine, or on this one with other kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stages import run_stage, succeed
from tests.support.training_runs import outcome, read, start_training, wait_for_checkpoint

SECONDS = ["--epochs", "12", "--checkpoint-every-seconds", "0.1"]


def interrupted(tokens: Path, folder: Path, *flags: str) -> None:
    process = start_training(tokens, folder, [*SECONDS, *flags])
    wait_for_checkpoint(folder, process, 2)
    process.kill()
    process.communicate()


@pytest.mark.long
@pytest.mark.parametrize("limit", ["ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2"])
def test_a_run_resumed_on_other_kernels_says_that_it_is_not_exact_and_records_both(
    tokens_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    interrupted(tokens_folder, tmp_path)
    monkeypatch.setenv(*limit.split("="))
    done = succeed(run_stage("train", tokens_folder, *SECONDS, "--output-dir", str(tmp_path)))
    line = next(line for line in done.stdout.splitlines() if line.startswith("Resuming from epoch "))
    then, now = read(tmp_path / "metrics" / "train_speed.json")["kernels"]
    assert f"on other kernels ({now}) than it was started on ({then}): the result will be as good, but " in line
    assert "not byte-identical to an uninterrupted run" in line
    assert limit in now
    assert limit not in then


@pytest.mark.long
def test_a_run_resumed_on_the_same_kernels_says_nothing_and_has_the_same_bytes(
    tokens_folder: Path, tmp_path: Path
) -> None:
    interrupted(tokens_folder, tmp_path / "resumed")
    done = succeed(run_stage("train", tokens_folder, *SECONDS, "--output-dir", str(tmp_path / "resumed")))
    assert "Resuming from epoch " in done.stdout
    assert "other kernels" not in done.stdout
    succeed(run_stage("train", tokens_folder, *SECONDS, "--output-dir", str(tmp_path / "whole")))
    assert outcome(tmp_path / "resumed") == outcome(tmp_path / "whole")


def test_a_run_with_other_resolved_settings_starts_anew_and_names_the_command_that_resumes(
    tokens_folder: Path, tmp_path: Path
) -> None:
    interrupted(tokens_folder, tmp_path, "--precision", "bf16")
    process = start_training(tokens_folder, tmp_path, [*SECONDS, "--precision", "fp32"])
    wait_for_checkpoint(tmp_path, process, 4)
    process.kill()
    stdout, _ = process.communicate()
    assert "Not resuming an unfinished run with the same inputs" in stdout
    assert "precision bf16 there, fp32 here. To resume it: dvc exp run -S train.precision=bf16" in stdout
    assert "Resuming from epoch" not in stdout
