from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from minimal_llm.common.errors import TrainingError
from minimal_llm.common.unfinished_runs import UnfinishedRun, lock_run
from minimal_llm.pipeline.repro import _settle_unfinished_run
from tests.support.terminal import Terminal


@pytest.mark.parametrize(
    ("stdin", "resume", "asked", "kept"),
    [
        (io.StringIO(), None, False, True),
        (io.StringIO(), False, False, False),
        (Terminal("\n"), None, True, True),
        (Terminal("s\n"), None, True, False),
        (Terminal("s\n"), True, False, True),
        (Terminal("r\n"), False, False, False),
    ],
)
def test_an_unfinished_run_is_resumed_or_started_over_as_the_option_or_the_answer_says(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    stdin: io.StringIO,
    resume: bool | None,
    asked: bool,
    kept: bool,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(sys, "stdin", stdin)
    stdin.seek(0)
    _settle_unfinished_run([UnfinishedRun(folder, 2.5, 60)], resume)
    printed = capsys.readouterr().out
    assert "Found an unfinished run, 2.50 of 60 epochs done." in printed
    assert ("[R]esume or [s]tart over?" in printed) == asked
    assert ("Resuming it." in printed) == folder.exists() == kept


def test_without_an_unfinished_run_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    _settle_unfinished_run([], None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_a_process_is_training_is_neither_resumed_nor_deleted(tmp_path: Path, resume: bool) -> None:
    runs = [UnfinishedRun(tmp_path / name, 2.5, 60) for name in ("idle", "live")]
    (tmp_path / "idle").mkdir()
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "pid").write_text("1234\n", encoding="ascii")
    with lock_run(tmp_path / "live"), pytest.raises(TrainingError) as refused:
        _settle_unfinished_run(runs, resume)
    assert "another process (pid 1234) is already training this run" in refused.value.message
    assert "kill 1234" in refused.value.remedy
    assert all(run.folder.exists() for run in runs)
