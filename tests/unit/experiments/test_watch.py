"""How logs are read, and what `make watch` shows of them: progress, state, and that everything fits the terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions

from minimal_llm.common.config import load_config
from minimal_llm.common.live_log import LOG_NAME, Event, LiveLog, read_events
from minimal_llm.experiments.live_runs import LiveRun, Row, duration, live_runs
from minimal_llm.experiments.watch import sparkline, view
from tests.support.stages import ROOT

FOLDER = Path("data/checkpoints/0123456789abcdef0123456789abcdef")
NOW = 1_000_000.0
STEPS = 160  # per epoch


def start(epochs: int = 20, pid: int = 0, **parameters: Any) -> Event:
    facts = {"steps_per_epoch": STEPS, "total_steps": epochs * STEPS, "tokens_per_step": 4096, "parameters": parameters}
    return {"event": "start", "time": time.time(), "pid": pid or os.getpid(), **facts}


def step(epoch: int, number: int) -> Event:
    done = (epoch - 1) * STEPS + number
    return {"event": "step", "time": NOW, "step": done, "loss": 4.5, "tokens_per_s": 40_960.0}


def epoch(number: float, val_loss: float, text: str = "Once upon a time") -> Event:
    row = {"epoch": number, "step": round(number * STEPS), "train_loss": val_loss + 0.1, "val_loss": val_loss}
    row |= {"learning_rate": 1e-3, "seconds": 20.0}
    return {"event": "epoch", "time": NOW, **row, "samples": {"en": text, "es": text}, "best": True}


def shown(runs: list[LiveRun | None], width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, color_system=None, record=True, file=io.StringIO())
    console.print(view([run for run in runs if run], ConsoleDimensions(width, height), live=True))
    return console.export_text().rstrip("\n").split("\n")


def ended_process() -> int:
    """The PID of a process that no longer exists."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_position_and_time_left_come_from_the_latest_events() -> None:
    run = LiveRun.of(FOLDER, [start(), epoch(1, 5.0), epoch(2, 4.5), step(3, 40), step(3, 80)])
    assert run is not None
    assert run.position == (3, 80)
    assert run.steps == (2 * 160 + 80, 20 * 160)
    assert run.seconds_left == pytest.approx(17.5 * 20)  # epochs of 20 s
    assert run.state == "running"


def test_before_the_first_epoch_the_time_left_comes_from_the_steps() -> None:
    run = LiveRun.of(FOLDER, [start(epochs=2), step(1, 60)])
    assert run is not None
    assert run.seconds_left == pytest.approx((2 * 160 - 60) * 4096 / 40_960)


def test_epochs_repeated_after_a_checkpoint_are_listed_once() -> None:
    killed, resumed = start(pid=ended_process()), start()
    run = LiveRun.of(FOLDER, [killed, epoch(1, 5.0), epoch(2, 4.0), epoch(3, 3.9), resumed, step(2, 10), epoch(2, 4.1)])
    assert run is not None
    assert [(row["epoch"], row["val_loss"]) for row in run.epochs] == [(1, 5.0), (2, 4.1)]
    assert run.position == (3, 0)


def test_evaluations_within_an_epoch_count_by_their_steps() -> None:
    events = [start(epochs=2), epoch(0.5, 5.0), epoch(1, 4.5), epoch(1.25, 4.4)]
    run = LiveRun.of(FOLDER, events)
    assert run is not None
    assert run.position == (2, 40)
    assert run.seconds_left == pytest.approx(120 * 60 / 200)  # three evaluations of 20 s in 200 steps


@pytest.mark.parametrize(
    ("process_exists", "last", "state"),
    [
        (True, [], "running"),
        (False, [], "killed"),
        (False, [{"event": "end", "time": NOW, "state": "interrupted"}], "interrupted"),
        (False, [{"event": "end", "time": NOW, "state": "finished"}], "finished"),
    ],
)
def test_the_state_is_what_the_log_ends_with_or_whether_the_process_exists(
    process_exists: bool, last: list[Event], state: str
) -> None:
    run = LiveRun.of(FOLDER, [start(pid=os.getpid() if process_exists else ended_process()), epoch(1, 5.0), *last])
    assert run is not None
    assert run.state == state


def test_a_process_with_a_reused_pid_is_not_mistaken_for_the_run() -> None:
    run = LiveRun.of(FOLDER, [start() | {"time": NOW}])  # before this process existed
    assert run is not None
    assert run.state == "killed"


def test_the_longest_view_fits_a_terminal_of_80_by_24() -> None:
    events = [epoch(number, 7 - number / 20, "palabras y más " * 40) for number in range(1, 100)]
    killed = LiveRun.of(FOLDER, [start(100, ended_process()), *events, step(100, 3)])
    assert "To resume the run" in " ".join(shown([killed]))
    running = LiveRun.of(FOLDER, [start(100), *events, step(100, 3)])
    for run in (killed, running):
        lines = shown([run])
        assert len(lines) < 24
        assert max(map(len, lines)) <= 80
        assert "Ctrl+C" in lines[-1]
    assert len(shown([running], 80, 50)) < 50
    many = [LiveRun.of(FOLDER, [start(20, 0, **{"train.learning_rate": n / 1000})]) for n in range(1, 41)]
    lines = shown(list(many))
    assert len(lines) < 24
    assert any("learning_rate=0.001" in line for line in lines)
    assert any("more" in line for line in lines)


def test_generated_text_cannot_control_the_terminal() -> None:
    run = LiveRun.of(FOLDER, [start(), epoch(1, 5.0, "a\x1b[2Jb\x07 [red]c[/red] \u202ed")])
    text = "\n".join(shown([run]))
    assert "[red]c[/red]" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_without_a_run_it_says_how_to_start_one() -> None:
    assert "make train" in shown([])[0]
    assert LiveRun.of(FOLDER, [step(1, 1)]) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (320, "5 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_are_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_small_curve_falls_as_the_losses_do() -> None:
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert sparkline([2.0, 2.0]) == "▁▁"


def test_a_log_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def read(path: Path) -> list[Event]:
        reads.append(path)
        return read_events(path)

    monkeypatch.setattr("minimal_llm.experiments.live_runs.read_events", read)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        log = LiveLog(tmp_path / name)
        log.start(load_config(ROOT / "params.yaml"), 10, 200, 4096)
        time.sleep(0.01)
    assert [run.folder.name for run in live_runs([tmp_path])] == ["new", "old"]
    live_runs([tmp_path])
    assert len(reads) == 2
    log.end("finished")
    assert live_runs([tmp_path])[0].state == "finished"
    assert reads[2:] == [tmp_path / "new" / LOG_NAME]


def test_a_line_of_a_list_has_epoch_best_loss_and_time_left() -> None:
    run = LiveRun.of(FOLDER, [start(epochs=4), epoch(1, 5.5), epoch(2, 5.75), step(3, 80)])
    assert str(Row("x", "training", run)) == "x  training  epoch 3/4  val 5.500  30 s left"
    assert str(Row("x", "known", None, 4.25)) == "x  known  val 4.250"
    assert str(Row("x", "queued")) == "x  queued"
