"""The live log: what a run reports while it trains, for `make watch` and `make sweep`.

data/checkpoints/<fingerprint>/log.jsonl, one JSON object per line. It is not a DVC output, because DVC deletes outputs
when a stage starts, and not a result, because it contains times. A resumed run appends another `start`. No torch here.

    {"event": "start", "time", "pid", "experiment", "steps_per_epoch", "total_steps", "tokens_per_step", "parameters"}
    {"event": "step", "time", "step", "loss", "tokens_per_s"}                   about once per second
    {"event": "epoch", "time", "epoch", "step", "train_loss", ..., "samples", "seconds", "best"}    each evaluation
    {"event": "end", "time", "state"}                                           finished, interrupted or failed
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from minimal_llm.common.config import Config
from minimal_llm.common.unfinished_runs import run_parameters

LOG_NAME = "log.jsonl"
NUMBERS = {  # in each event
    "start": ("pid", "steps_per_epoch", "total_steps", "tokens_per_step"),
    "step": ("step", "tokens_per_s"),
    "epoch": ("epoch", "step", "val_loss", "seconds"),
    "end": (),
}
STATES = ("finished", "interrupted", "failed")
STEP_SECONDS = 1.0  # between two `step` events
Event = dict[str, Any]


class LiveLog:
    """The writer. A write error is reported once and training continues: no result depends on this file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_NAME
        self._broken = False
        self._step_at = 0.0
        self._steps = 0

    def start(self, config: Config, steps_per_epoch: int, total_steps: int, tokens_per_step: int) -> None:
        """Record which run this is, in which process, and in which DVC experiment if any."""
        self._tokens_per_step = tokens_per_step
        self._step_at = time.monotonic()
        self._append(
            "start",
            pid=os.getpid(),
            experiment=os.environ.get("DVC_EXP_NAME", ""),
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
            tokens_per_step=tokens_per_step,
            parameters=run_parameters(config),
        )

    def step(self, step: int, loss: float) -> None:
        """Count step number `step`, from 1; write an event if the previous one is STEP_SECONDS old."""
        self._steps += 1
        elapsed = time.monotonic() - self._step_at
        if elapsed >= STEP_SECONDS:
            speed = round(self._steps * self._tokens_per_step / elapsed, 1)
            self._append("step", step=step, loss=round(loss, 4), tokens_per_s=speed)
            self._restart_clock()

    def epoch(self, row: dict[str, Any], seconds: float, best: bool) -> None:
        """Record an evaluation: its row of the history, the time since the last, and whether it is the best so far."""
        self._append("epoch", **row, seconds=round(seconds, 3), best=best)
        self._restart_clock()

    def end(self, state: str) -> None:
        """Record how the process ends: finished, interrupted or failed."""
        self._append("end", state=state)

    def _restart_clock(self) -> None:
        self._step_at, self._steps = time.monotonic(), 0

    def _append(self, event: str, **content: Any) -> None:
        if self._broken:
            return
        line = json.dumps({"event": event, "time": round(time.time(), 3), **content}, ensure_ascii=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            self._broken = True
            print(f"warning: {self._path}: {error.strerror}; make watch will not show this run", file=sys.stderr)


def read_events(log: Path) -> list[Event]:
    """Return the events of a log, oldest first; an empty list if there is no log. A truncated line is skipped."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_event, lines) if event]


def _event(line: str) -> Event:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) and _is_whole(event) else {}


def _is_whole(event: Event) -> bool:
    """Return whether an event has what those who show it rely on: a flipped bit can leave other JSON."""
    numbers = NUMBERS.get(str(event.get("event")))
    mappings = {"start": "parameters", "epoch": "samples"}.get(str(event.get("event")))
    return (
        numbers is not None
        and all(isinstance(event.get(name), int | float) and 0 < event[name] < 1e12 for name in ("time", *numbers))
        and (mappings is None or isinstance(event.get(mappings), dict))
        and event.get("state", "failed") in STATES
    )
