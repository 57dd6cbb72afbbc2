from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimal_llm.common import live_log
from minimal_llm.common.config import load_config
from minimal_llm.common.live_log import LOG_NAME, LiveLog, read_events
from tests.support.stages import ROOT


def started(folder: Path) -> LiveLog:
    log = LiveLog(folder)
    log.start(load_config(ROOT / "params.yaml"), steps_per_epoch=10, total_steps=200, tokens_per_step=4096)
    return log


def test_a_resumed_run_appends_to_the_same_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "my-idea")
    monkeypatch.setattr(live_log, "STEP_SECONDS", 0.0)
    first = started(tmp_path)
    first.step(1, 9.0)
    with (tmp_path / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "ti\n')  # truncated by a kill
    second = started(tmp_path)
    second.epoch(
        {"epoch": 1, "step": 10, "train_loss": 7.0, "val_loss": 6.0, "samples": {"es": "Había"}}, 12.3456, best=True
    )
    second.end("finished")
    events = read_events(tmp_path / LOG_NAME)
    assert [event["event"] for event in events] == ["start", "step", "start", "epoch", "end"]
    assert events[0]["pid"] == os.getpid()
    assert events[0]["experiment"] == "my-idea"
    assert events[0]["parameters"]["train.epochs"] == 20
    assert (events[1]["step"], events[1]["loss"]) == (1, 9.0)
    assert events[1]["tokens_per_s"] > 0
    assert (events[3]["seconds"], events[3]["best"], events[3]["samples"]["es"]) == (12.346, True, "Había")


def test_steps_are_recorded_about_once_per_second(tmp_path: Path) -> None:
    log = started(tmp_path)
    for step in range(1, 100):
        log.step(step, 9.0)
    assert len(read_events(tmp_path / LOG_NAME)) < 5


def test_a_log_that_cannot_be_written_is_reported_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_NAME).mkdir()
    started(tmp_path).end("finished")
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_missing_log_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none" / LOG_NAME) == []
