from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from minimal_llm.common.artifacts import DATA, Artifacts
from minimal_llm.common.errors import TrainingError
from minimal_llm.training.checkpoint import Checkpoints, Progress, State, checkpoint_root

RUN = "0" * 32


def state(step: int) -> State:
    weights = {"w": torch.full((3,), float(step))}
    return State(Progress(step=step), weights, {"state": {}}, weights, {})


def saved(folder: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, RUN)
    for step in steps:
        checkpoints.save(state(step))
    return checkpoints


def steps(checkpoints: Checkpoints) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in checkpoints.folder.glob("step_*.pt"))


def newest_step(checkpoints: Checkpoints) -> int | None:
    newest = checkpoints.newest()
    return None if newest is None else newest.progress.step


def test_the_newest_checkpoint_is_loaded(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 9, 10, 1)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.progress == Progress(step=10)
    assert torch.equal(newest.model["w"], torch.full((3,), 10.0))
    assert Checkpoints(tmp_path, "1" * 32).newest() is None


@pytest.mark.parametrize(("keep", "left"), [(1, [2, 6]), (2, [2, 5, 6]), (100, [1, 2, 3, 4, 5, 6])])
def test_pruning_keeps_the_newest_checkpoints_and_those_of_the_given_steps(
    tmp_path: Path, keep: int, left: list[int]
) -> None:
    checkpoints = saved(tmp_path, *range(1, 7))
    checkpoints.prune(keep, 6, {2})
    assert steps(checkpoints) == left


def test_a_damaged_checkpoint_does_not_count_as_the_newest(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 9)
    (checkpoints.folder / "step_00000009.pt").write_bytes(b"damaged")
    assert newest_step(checkpoints) == 2
    checkpoints.save(state(3))
    checkpoints.prune(1, 3, set())
    assert newest_step(checkpoints) == 3


def test_a_checkpoint_of_another_run_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints, other = saved(tmp_path, 1), Checkpoints(tmp_path, "1" * 32)
    path = other.save(state(2)).rename(checkpoints.folder / "step_00000002.pt")
    assert newest_step(checkpoints) == 1
    assert f"skipping checkpoint {path.name}: {path} is not a checkpoint of this run" in capsys.readouterr().err


def test_partial_files_of_a_killed_process_are_deleted_when_training_starts(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    partial = checkpoints.folder / ".step_00000002.pt.x1y2z3.tmp"
    partial.write_bytes(b"half")
    with checkpoints.lock():
        assert not partial.exists()
    assert steps(checkpoints) == [1]


def test_only_one_process_holds_the_lock_and_an_error_releases_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="diverged"), Checkpoints(tmp_path, RUN).lock():
        raise ValueError("diverged")
    with (
        Checkpoints(tmp_path, RUN).lock(),
        pytest.raises(TrainingError, match="another process"),
        Checkpoints(tmp_path, RUN).lock(),
    ):
        pass


def test_of_completed_runs_the_own_one_the_latest_and_those_at_work_are_kept_and_all_unfinished_ones(
    tmp_path: Path,
) -> None:
    unfinished = saved(tmp_path, 1)
    finished = [Checkpoints(tmp_path, f"{number}" * 32) for number in range(1, 7)]
    for age, run in enumerate(finished):
        run.save(state(1))
        run.finish({"total_seconds": age})
        os.utime(run.folder / "finished", (age, age))
    with finished[1].lock():
        finished[0].clear_finished()
    kept = [run for run in finished if run.folder.exists()]
    assert kept == [finished[0], finished[1], *finished[3:]]
    assert [run.finished_speed()["total_seconds"] for run in kept] == [0, 1, 3, 4, 5]
    assert newest_step(unfinished) == 1


def test_a_completed_run_keeps_its_last_checkpoint_only_once_another_run_starts(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3)
    assert checkpoints.finished_speed() == {}
    checkpoints.finish({"total_seconds": 1.5})
    assert checkpoints.finished_speed() == {"total_seconds": 1.5}
    checkpoints.clear_finished()
    assert steps(checkpoints) == [1, 2, 3]
    Checkpoints(tmp_path, "another").clear_finished()
    assert steps(checkpoints) == [3]


def test_experiments_in_a_copy_of_the_repository_use_the_checkpoints_of_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert checkpoint_root(Artifacts(DATA)) == tmp_path / "data" / "checkpoints"
    assert checkpoint_root(Artifacts(tmp_path / "elsewhere")) == tmp_path / "elsewhere" / "checkpoints"
    monkeypatch.delenv("DVC_ROOT")
    assert checkpoint_root(Artifacts(DATA)) == DATA / "checkpoints"
