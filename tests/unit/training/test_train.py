"""A run that finished but whose results were not recorded: they are written again, and nothing is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.training.train import train
from tests.support.stages import copy_folder
from tests.support.training_runs import checkpoints, tiny_config, trained_epochs


def run(folder: Path) -> dict[str, bytes]:
    """Train in this process; return all outputs, the record of its speed included."""
    artifacts = Artifacts(folder)
    train(tiny_config("train"), artifacts, artifacts)
    return {path.name: path.read_bytes() for path in artifacts.outputs("train")}


def delete_outputs(folder: Path, count: int) -> None:
    """Delete some outputs, as DVC does all of them, or as if a process had been killed while it wrote them."""
    for path in Artifacts(folder).outputs("train")[:count]:
        path.unlink()


@pytest.fixture(scope="module")
def finished(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder after training in this process, and its outputs. Do not write into it."""
    folder = copy_folder(tokens_folder, tmp_path_factory.mktemp("finished") / "run")
    return folder, run(folder)


@pytest.mark.parametrize("lost", [3, 7])
def test_a_finished_run_writes_the_same_bytes_again_without_training(
    finished: tuple[Path, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: int
) -> None:
    folder, outputs = copy_folder(finished[0], tmp_path), finished[1]
    delete_outputs(folder, lost)
    assert run(folder) == outputs
    assert trained_epochs(folder) == 2
    printed = capsys.readouterr().out
    assert f"This run finished earlier; writing its results again from {checkpoints(folder)[0].parent}" in printed
    assert "Resuming" not in printed


def test_a_run_killed_before_it_was_marked_as_finished_is_not_trained_again(
    finished: tuple[Path, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outputs = copy_folder(finished[0], tmp_path), finished[1]
    (checkpoints(folder)[0].parent / "finished").unlink()
    again = run(folder)
    assert {name for name in outputs if again[name] != outputs[name]} <= {"train_speed.json"}  # its memory is another's
    assert trained_epochs(folder) == 2
    assert "Resuming from epoch 2, step 0" in capsys.readouterr().out


def test_without_an_intact_checkpoint_a_finished_run_is_trained_again(
    finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = copy_folder(finished[0], tmp_path)
    for checkpoint in checkpoints(folder):
        checkpoint.write_bytes(b"damaged")
    assert run(folder)["best_model.pt"] == finished[1]["best_model.pt"]
    assert trained_epochs(folder) == 4
