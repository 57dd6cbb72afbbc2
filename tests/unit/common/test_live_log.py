from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimal_llm.common import live_log
from minimal_llm.common.config import load_config
from minimal_llm.common.live_log import LOG_NAME, LiveLog, live_logs, read_events
from tests.support.stages import ROOT


def started(folder: Path) -> LiveLog:
    log = LiveLog(folder)
    log.start(load_config(ROOT / "params.yaml"), steps_per_epoch=10, tokens_per_step=4096)
    return log


def test_a_run_that_is_gone_on_with_goes_on_in_the_same_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_log, "STEP_SECONDS", 0.0)
    first = started(tmp_path)
    first.step(1, 1, 9.0)
    with (tmp_path / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "ti\n')  # torn by a kill
    second = started(tmp_path)
    second.epoch({"epoch": 1, "train_loss": 7.0, "val_loss": 6.0, "samples": {"es": "Había"}}, 12.3456, best=True)
    second.end("finished")
    events = read_events(tmp_path / LOG_NAME)
    assert [event["event"] for event in events] == ["start", "step", "start", "epoch", "end"]
    assert events[0]["pid"] == os.getpid()
    assert events[0]["parameters"]["train.epochs"] == 20
    assert (events[1]["epoch"], events[1]["step"], events[1]["loss"]) == (1, 1, 9.0)
    assert events[1]["tokens_per_s"] > 0
    assert (events[3]["seconds"], events[3]["best"], events[3]["samples"]["es"]) == (12.346, True, "Había")


def test_steps_are_told_now_and_then(tmp_path: Path) -> None:
    log = started(tmp_path)
    for step in range(1, 100):
        log.step(1, step, 9.0)
    assert len(read_events(tmp_path / LOG_NAME)) < 5


def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_NAME).mkdir()
    started(tmp_path).end("finished")
    assert capsys.readouterr().err.count("warning: ") == 1


def test_the_log_written_last_comes_first(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "new")):
        (tmp_path / name).mkdir()
        started(tmp_path / name)
        os.utime(tmp_path / name / LOG_NAME, (number, number))
    assert [log.parent.name for log in live_logs(tmp_path)] == ["new", "old"]
    assert read_events(tmp_path / "none" / LOG_NAME) == []
