"""The live log: what a run says of itself while it trains, for `make watch` and the progress of a sweep.

data/checkpoints/<fingerprint>/log.jsonl, one JSON object a line. It is no output of DVC, which deletes outputs when a
stage starts, and no result: times are in it. A run that is gone on with appends another start. Knows nothing of torch.

    {"event": "start", "time", "pid", "epochs", "steps_per_epoch", "tokens_per_step", "parameters"}
    {"event": "step", "time", "epoch", "step", "loss", "tokens_per_s"}          about once a second
    {"event": "epoch", "time", "epoch", "train_loss", ..., "samples", "seconds", "best"}
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
STEP_SECONDS = 1.0  # between two events of kind `step`
Event = dict[str, Any]


class LiveLog:
    """The writing side. What cannot be written is said once, and training goes on: nobody's result depends on it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_NAME
        self._broken = False
        self._step_at = 0.0
        self._steps = 0

    def start(self, config: Config, steps_per_epoch: int, tokens_per_step: int) -> None:
        """Say which run this is, and by which process."""
        self._tokens_per_step = tokens_per_step
        self._step_at = time.monotonic()
        self._append(
            "start",
            pid=os.getpid(),
            epochs=config.train.epochs,
            steps_per_epoch=steps_per_epoch,
            tokens_per_step=tokens_per_step,
            parameters=run_parameters(config),
        )

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Count a step of an epoch (both from 1); write an event if the last one is STEP_SECONDS old."""
        self._steps += 1
        elapsed = time.monotonic() - self._step_at
        if elapsed >= STEP_SECONDS:
            speed = round(self._steps * self._tokens_per_step / elapsed, 1)
            self._append("step", epoch=epoch, step=step, loss=round(loss, 4), tokens_per_s=speed)
            self._restart_clock()

    def epoch(self, row: dict[str, Any], seconds: float, best: bool) -> None:
        """Write what the history has of an epoch, how long it took and whether it is the best so far."""
        self._append("epoch", **row, seconds=round(seconds, 3), best=best)
        self._restart_clock()

    def end(self, state: str) -> None:
        """Say that the process ends: finished, interrupted or failed."""
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
    """Return the events of a log, the oldest first; an empty list if there is none. A torn line is passed over."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_event, lines) if event]


def live_logs(root: Path) -> list[Path]:
    """Return the logs of all runs below a checkpoint folder, the one written last first."""
    stamped = []
    for log in root.glob(f"*/{LOG_NAME}"):
        try:
            stamped.append((log.stat().st_mtime, log))
        except FileNotFoundError:  # a run that starts clears away those that are done
            continue
    return [log for _, log in sorted(stamped, reverse=True)]


def _event(line: str) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) and "event" in event else {}
