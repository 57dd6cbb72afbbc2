"""Runs that are measured in steps or minutes, evaluated within epochs, computed in parts, or extended."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.stages import run_stage, succeed
from tests.support.training_runs import (
    checkpoints,
    failure,
    outcome,
    read,
    start_training,
    wait_until,
)

FLOOR = 0.1 * 0.004  # the learning rate that params.yaml has at the end of its schedule
STEPS = ["--epochs", "6", "--max-steps", "150", "--evaluate-every-steps", "40", "--gradient-accumulation-steps", "2"]


def trained(tokens: Path, output: Path, *flags: str) -> list[dict[str, Any]]:
    """Train to the end; return the history."""
    succeed(run_stage("train", tokens, *flags, "--output-dir", str(output)))
    history: list[dict[str, Any]] = read(output / "training_metrics.json")["epoch_history"]
    return history


@pytest.fixture(scope="module")
def by_steps(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 150 steps that is evaluated every 40. Do not write into it."""
    folder = tmp_path_factory.mktemp("by_steps")
    trained(tokens_folder, folder, *STEPS)
    return folder


def test_a_run_of_so_many_steps_is_evaluated_as_often_as_asked_and_its_schedule_ends_with_it(by_steps: Path) -> None:
    metrics = read(by_steps / "metrics/train.json")
    history = read(by_steps / "training_metrics.json")["epoch_history"]
    per_epoch = round(150 / metrics["epochs"])
    ends = set(range(per_epoch, 150, per_epoch))
    assert [row["step"] for row in history] == sorted({40, 80, 120, 150} | ends)
    assert [row["epoch"] for row in history] == [round(row["step"] / per_epoch, 3) for row in history]
    assert history[-1]["learning_rate"] == pytest.approx(FLOOR)
    assert metrics["steps"] == 150
    best = min(history, key=lambda row: row["val_loss"])
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["val_loss"] == pytest.approx(best["val_loss"], abs=1e-3)  # that of the weights that were kept


def test_killed_between_two_evaluations_it_ends_with_the_same_bytes(
    tokens_folder: Path, by_steps: Path, tmp_path: Path
) -> None:
    process = start_training(tokens_folder, tmp_path, [*STEPS, "--checkpoint-every-seconds", "0.1"])
    wait_until(lambda: any(int(path.stem[-3:]) % 40 for path in checkpoints(tmp_path)), process)
    process.kill()
    process.communicate()
    done = succeed(run_stage("train", tokens_folder, *STEPS, "--output-dir", str(tmp_path)))
    assert "Resuming from epoch" in done.stdout
    assert outcome(tmp_path) == outcome(by_steps)


def test_a_run_of_so_many_minutes_plans_its_schedule_for_them(tokens_folder: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "100", "--max-minutes", "0.1"]
    process = start_training(tokens_folder, tmp_path, [*flags, "--checkpoint-every-seconds", "0.1"])
    wait_until(lambda: len(checkpoints(tmp_path)) > 1, process)
    process.kill()
    process.communicate()
    history = trained(tokens_folder, tmp_path, *flags)
    steps = read(tmp_path / "metrics/train.json")["steps"]
    assert (tmp_path / "plots/steps.csv").read_text(encoding="utf-8").splitlines()[-1].startswith(f"{steps},")
    assert history[-1]["step"] == steps
    assert history[-1]["epoch"] < 100
    # The last count of the steps that fit may be off by some: the curve is flat there.
    assert history[-1]["learning_rate"] == pytest.approx(FLOOR, rel=0.3)


def test_a_longer_run_continues_a_finished_one_with_its_optimizer_and_its_history(
    tokens_folder: Path, trained_folder: Path, tmp_path: Path
) -> None:
    finished = checkpoints(trained_folder)[-1]
    before = read(trained_folder / "training_metrics.json")["epoch_history"]
    history = trained(tokens_folder, tmp_path, "--epochs", "4", "--extend-from", str(finished))
    told = ("epoch", "step", "learning_rate", "gradient_norm", "samples")
    assert [[row[key] for key in told] for row in history[:2]] == [[row[key] for key in told] for row in before]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[-1]["val_loss"] < before[-1]["val_loss"]
    old, new = ((folder / "plots/steps.csv").read_text(encoding="utf-8") for folder in (trained_folder, tmp_path))
    assert new.startswith(old)
    assert len(new.splitlines()) == 1 + history[-1]["step"]
    metrics = read(tmp_path / "metrics/train.json")
    assert len(metrics["extend_from_sha256"]) == 64
    assert metrics["steps"] == 2 * int(finished.stem.removeprefix("step_"))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--epochs", "2"], "already, and this run would have"),
        (["--epochs", "3", "--layers", "2"], "does not match this run: layers is 1 there, 2 here"),
        (["--epochs", "3", "--batch-size", "4"], "steps per epoch is "),
        (["--epochs", "3", "--init-from", "base.pt"], "init_from and extend_from exclude each other"),
    ],
)
def test_what_cannot_be_extended_is_refused_with_both_sides(
    tokens_folder: Path, trained_folder: Path, tmp_path: Path, flags: list[str], told: str
) -> None:
    finished = checkpoints(trained_folder)[-1]
    if "--init-from" in flags:
        done = run_stage("train", tokens_folder, *flags, "--extend-from", str(finished))
        assert done.returncode == 1
        assert told in done.stderr
        return
    shutil.copytree(tokens_folder, tmp_path, dirs_exist_ok=True)
    assert told in failure(tmp_path, "train", 4, "configuration", *flags, "--extend-from", str(finished))


def test_a_model_or_a_damaged_file_cannot_be_extended(trained_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_folder, tmp_path, dirs_exist_ok=True)
    for name in ("best_model.pt", "metrics/train.json"):
        stderr = failure(tmp_path, "train", 4, "configuration", "--extend-from", str(trained_folder / name))
        assert "name the last checkpoint of a finished run" in stderr
