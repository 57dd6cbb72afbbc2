from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ConfigurationError, TrainingError
from minimal_llm.pipeline.status import RUN_VARIABLE, StatusFile


@pytest.fixture
def status(tmp_path: Path) -> StatusFile:
    return StatusFile(tmp_path / "pipeline_status.json")


def states(status: StatusFile) -> list[str]:
    return [entry["state"] for entry in status.read()["phases"].values()]


def test_stages_of_one_run_write_into_one_record(
    status: StatusFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "run-1")
    status.start_run("run-1", "dvc repro")
    status.start_phase("train")
    assert status.read()["current_phase"] == "train"
    assert states(status) == ["skipped", "skipped", "running", "pending"]
    (tmp_path / "best_model.pt").write_bytes(b"12345")
    status.complete_phase("train", 1.5, Artifacts(tmp_path))
    status.start_phase("validate")
    status.complete_phase("validate", 0.5, Artifacts(tmp_path))
    record = status.read()
    assert states(status) == ["skipped", "skipped", "completed", "completed"]
    assert (record["state"], record["id"], record["current_phase"]) == ("succeeded", "run-1", None)
    assert record["phases"]["train"]["seconds"] == 1.5
    assert record["phases"]["train"]["artifacts"][str(tmp_path / "best_model.pt")] == 5


def test_a_new_run_starts_a_new_record(status: StatusFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "run-1")
    status.start_phase("download")
    monkeypatch.setenv(RUN_VARIABLE, "run-2")
    status.start_phase("tokenizer")
    assert states(status) == ["skipped", "running", "pending", "pending"]


def test_a_failure_is_recorded_with_its_kind_remedy_and_last_lines_of_stderr(
    status: StatusFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "run-1")
    status.start_phase("train")
    error = TrainingError("disk full", remedy="df -h", kind="disk_space")
    status.fail_phase("train", 2.0, error, ["last words"])
    record = status.read()
    assert record["state"] == "failed"
    assert record["error"] == {
        "phase": "train",
        "kind": "disk_space",
        "exit_code": 4,
        "message": "disk full",
        "remedy": "df -h",
        "stderr": ["last words"],
    }


def test_a_run_with_nothing_to_do_skips_every_phase(status: StatusFile) -> None:
    status.start_run("run-1", "dvc repro")
    assert status.finish_run(succeeded=True)["state"] == "succeeded"
    assert set(states(status)) == {"skipped"}


def test_a_stage_run_by_hand_keeps_the_record_of_the_others(status: StatusFile, tmp_path: Path) -> None:
    status.start_phase("download")
    status.complete_phase("download", 1.0, Artifacts(tmp_path))
    assert status.read()["state"] == "succeeded"
    status.start_phase("tokenizer")
    assert states(status) == ["completed", "running", "pending", "pending"]


def test_a_record_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{broken", encoding="utf-8")
    status = StatusFile(tmp_path / "s.json")
    status.start_phase("download")
    assert states(status)[0] == "running"


def test_a_stage_that_was_killed_is_recorded_as_interrupted_when_the_run_ends(status: StatusFile) -> None:
    status.start_run("run-1", "dvc repro")
    status._write({**status.read(), "current_phase": "train"})
    record = status.finish_run(succeeded=False)
    assert (record["state"], record["error"]["kind"], record["error"]["exit_code"]) == (
        "interrupted",
        "interrupted",
        130,
    )
    assert "train was killed" in record["error"]["message"]


def test_a_run_in_progress_keeps_its_record_until_it_ends(
    status: StatusFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with subprocess.Popen(["sleep", "60"]) as living:
        status.start_run("run-1", "dvc repro", living.pid)
        before = status.read()
        for variable in ("run-2", ""):  # of another pipeline, or by hand
            monkeypatch.setenv(RUN_VARIABLE, variable)
            second = StatusFile(tmp_path / "pipeline_status.json")
            with pytest.raises(ConfigurationError, match=rf"another run is in progress here \(pid {living.pid}\)"):
                second.require_idle()
            second.start_phase("train")
            second.fail_phase("train", 1.0, TrainingError("refused", remedy=""), [])
            second.complete_phase("train", 1.0, Artifacts(tmp_path))
            assert status.read() == before
        living.kill()
    second.require_idle()
    second.start_phase("train")
    assert states(status)[2] == "running"


def test_a_stage_that_outlives_dvc_is_not_recorded_as_killed(status: StatusFile) -> None:
    status.start_run("run-1", "dvc repro")
    with subprocess.Popen(["sleep", "60"]) as stage:
        entry = {"state": "running", "pid": stage.pid, "started": "2999-01-01T00:00:00+0000"}
        record = status.read()
        status._write({**record, "current_phase": "train", "phases": {**record["phases"], "train": entry}})
        before = status.read()
        told = status.finish_run(succeeded=False)["error"]
        stage.kill()
    assert status.read() == before
    assert told["message"] == f"DVC has ended, but its stage train (pid {stage.pid}) is still at work"
    assert f"kill {stage.pid}" in told["remedy"]
