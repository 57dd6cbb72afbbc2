"""One sweep from its first to its last experiment: queue what is not known, look after it, stop it in order."""

from __future__ import annotations

import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.errors import ConfigurationError, Interrupted, TrainingError
from minimal_llm.experiments.sweep import queue
from minimal_llm.experiments.sweep.data import prepare_shared_data
from minimal_llm.experiments.sweep.grid import Combination, identity
from minimal_llm.experiments.sweep.progress import Display, LiveRuns, Row, results_table
from minimal_llm.pipeline.references import finished_experiments

SHOW_SECONDS = 1.0
COUNT_SECONDS = 5.0  # between two counts of the workers
LOOK_SECONDS = 20.0  # between two looks at the queue, each a second of a core
START_SECONDS = 15.0  # that a worker may take to start
STOP_SECONDS = 120.0  # that an experiment may take to save and end
MOST_ATTEMPTS = 3  # at an experiment whose process disappears
LEAST_FIRST = ("failed", "queued", "running", "success")


class _Stop(Exception):
    """A signal asked to stop."""


class Sweep:
    """The combinations of a grid on their way through the queue. `run()` does it all."""

    def __init__(self, combinations: Sequence[Combination], jobs: int, threads: int, again: str) -> None:
        self._combinations = {combination.name: combination for combination in combinations}
        self._jobs, self._threads, self._again = jobs, threads, again
        self._waiting: dict[str, Combination] = {}
        self._losses: dict[str, float | None] = {}  # of what is done
        self._failures: dict[str, str] = {}
        self._states: dict[str, str] = {}  # in the queue
        self._rows: dict[str, Row] = {}
        self._attempts: Counter[str] = Counter()
        self._by_threads = combinations[0].by_threads
        self._live = LiveRuns(Artifacts().checkpoints, self._by_threads)
        self._started_at = self._looked_at = self._counted_at = float("-inf")
        self._count = 0
        self._dismissed: set[int] = set()
        self._stopping = False

    def run(self) -> None:
        """Run what is not known yet, and print where to compare.

        Raises:
            Interrupted: a signal stopped it; checkpoints are saved, and the next sweep goes on from there.
            TrainingError: some experiments failed.
            ConfigurationError: DVC cannot do its part.
        """
        with self._signals():
            try:
                self._plan()
                missing = [name for name in self._waiting if name not in self._states]
                self._prepare_data([self._waiting[name].config for name in missing])
                self._queue(missing)
                self._watch()
            except _Stop:
                self._stop()
                raise Interrupted(
                    f"the sweep stopped with {len(self._losses)} of {len(self._combinations)} experiments done; "
                    "those at work have saved how far they are",
                    remedy=f"{self._again} goes on from there",
                ) from None
        self._let_workers_end()
        self._conclude()

    # Before anything runs

    def _plan(self) -> None:
        """Sort out what is done, what is in the queue already, and what is to be queued."""
        shown = queue.experiments()
        known: dict[str, queue.Experiment] = {}
        for experiment in sorted(shown, key=lambda experiment: LEAST_FIRST.index(experiment.state)):
            if experiment.config and experiment.state != "failed":
                known[identity(experiment.config, self._by_threads)] = experiment
        planned: dict[str, Combination] = {}
        for combination in self._combinations.values():
            found = known.get(combination.identity)
            name = found.name if found else combination.name
            planned[name] = replace(combination, name=name)
            if found and found.state == "success":
                self._losses[name] = found.val_loss
                self._rows[name] = Row(name, "known", val_loss=found.val_loss)
            elif found:
                self._states[name] = found.state
        self._combinations = planned
        self._waiting = {name: planned[name] for name in planned if name not in self._losses}
        queue.remove([experiment.name for experiment in shown if self._is_to_repeat(experiment)])
        missing = len(self._waiting) - len(self._states)
        print(f"{len(self._losses)} known, {len(self._states)} in the queue, {missing} to queue", flush=True)

    def _is_to_repeat(self, experiment: queue.Experiment) -> bool:
        return experiment.state == "failed" and experiment.name in self._waiting

    def _prepare_data(self, configs: Sequence[Config]) -> None:
        if self._jobs == 1:
            return
        try:
            prepare_shared_data(configs, self._again)
        except ConfigurationError:
            self._check_stop()  # Ctrl+C reaches the stage at work, too
            raise
        self._check_stop()

    def _queue(self, names: Iterable[str]) -> None:
        for name in names:
            self._check_stop()
            queue.add(name, self._waiting[name].config, self._waiting[name].keys)
            self._states[name] = "queued"
            print(f"queued: {name}", flush=True)

    # While they run

    def _watch(self) -> None:
        display = Display()
        try:
            while self._waiting:
                self._check_stop()
                self._take_finished()
                self._look_after_workers()
                display.show(self._current_rows())
                time.sleep(SHOW_SECONDS)
            display.show(self._current_rows())
        finally:
            display.close()

    def _take_finished(self) -> None:
        done = finished_experiments()
        for name in [name for name in self._waiting if name in done]:
            self._end(name, "done")

    def _end(self, name: str, state: str, reason: str = "") -> None:
        del self._waiting[name]
        before = self._rows.get(name, Row(name, state))
        self._rows[name] = replace(before, state=state, seconds_left=None)
        if state == "failed":
            self._failures[name] = reason
        else:
            self._losses[name] = before.val_loss

    def _look_after_workers(self) -> None:
        now = time.monotonic()
        if now - self._counted_at < COUNT_SECONDS:
            return
        self._counted_at, before = now, self._count
        workers = queue.workers()
        self._count = len(workers)
        if self._count == before and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        self._read_queue(at_work=bool(workers))
        for extra in workers[self._jobs :]:  # DVC starts another where one is too busy to answer
            if extra.pid not in self._dismissed:
                self._dismissed.add(extra.pid)
                extra.terminate()  # after the experiment at hand
        if now - self._started_at < START_SECONDS:
            return
        if not workers:
            self._queue_again([name for name in self._waiting if self._states[name] == "running"])
        if len(workers) < self._jobs and "queued" in (self._states[name] for name in self._waiting):
            queue.start_workers(self._jobs, self._threads)
            self._started_at, self._counted_at = time.monotonic(), float("-inf")

    def _read_queue(self, at_work: bool) -> None:
        shown = {experiment.name: experiment for experiment in queue.experiments()}
        for name in list(self._waiting):
            if name not in shown:
                if not at_work:
                    self._end(name, "failed", "it was taken out of the queue")
            elif shown[name].state == "failed":
                self._end(name, "failed", shown[name].reason())
            elif shown[name].state == "success":
                self._end(name, "done")
            else:
                self._states[name] = shown[name].state

    def _queue_again(self, names: Sequence[str]) -> None:
        """Put experiments back into the queue whose worker was killed, which DVC takes to be running for ever."""
        if not names:
            return
        self._interrupt_orphans(names)
        queue.remove(names)
        for name in names:
            self._attempts[name] += 1
            del self._states[name]
            self._rows.pop(name, None)
            if self._attempts[name] >= MOST_ATTEMPTS:
                self._end(name, "failed", "its process disappeared again and again: killed, or out of memory")
        self._queue([name for name in names if name in self._waiting])

    @staticmethod
    def _interrupt_orphans(names: Sequence[str]) -> None:
        """Stop what still runs without a worker; the call that finds nothing left notes the experiments as failed."""
        deadline = time.monotonic() + STOP_SECONDS
        while queue.interrupt(names) and time.monotonic() < deadline:
            time.sleep(SHOW_SECONDS)

    def _current_rows(self) -> list[Row]:
        live = self._live.rows()
        for name, combination in self._waiting.items():
            row = live.get(combination.identity)
            before = self._rows.get(name)
            if row is None and before and before.state in ("training", "validating"):
                row = replace(before, state="validating", seconds_left=None)  # another run cleared its log away
            waits = "starting" if self._states[name] == "running" else "queued"
            self._rows[name] = replace(row, name=name) if row else Row(name, waits)
        return [self._rows[name] for name in self._combinations if name in self._rows]

    # How it ends

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _check_stop(self) -> None:
        if self._stopping:
            raise _Stop

    def _stop(self) -> None:
        """Take what is queued out of the queue and let what is at work save and end."""
        print("\nstopping: the experiments at work save how far they are", flush=True)
        if queue.workers():
            queue.stop_workers()
        told: set[str] = set()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            ours = [experiment for experiment in queue.experiments() if experiment.name in self._waiting]
            queue.remove([experiment.name for experiment in ours if experiment.state == "queued"])
            running = [e.name for e in ours if e.state == "running" and e.name not in told]
            told |= queue.interrupt(running) if running else set()
            if not queue.workers():
                break
            time.sleep(SHOW_SECONDS)
        self._take_finished()
        left = [experiment for experiment in queue.experiments() if experiment.name in self._waiting]
        if running := [experiment.name for experiment in left if experiment.state == "running"]:
            self._interrupt_orphans(running)
        queue.remove([experiment.name for experiment in left])

    def _let_workers_end(self) -> None:
        if queue.workers():
            queue.stop_workers()
        deadline = time.monotonic() + START_SECONDS
        while queue.workers() and time.monotonic() < deadline:
            time.sleep(SHOW_SECONDS / 4)

    def _conclude(self) -> None:
        losses = {e.name: e.val_loss for e in queue.experiments()}
        print("\n".join(["", *results_table({name: losses.get(name) for name in self._losses})]))
        if self._losses:
            best = min(self._losses, key=lambda name: losses.get(name) or float("inf"))
            print(f"compare all: make compare\ntake one over: dvc exp apply {shlex.quote(best)}", flush=True)
        if self._failures:
            listed = "\n".join(f"  - {name}: {reason}" for name, reason in self._failures.items())
            raise TrainingError(
                f"{len(self._failures)} of {len(self._combinations)} experiments failed:\n{listed}",
                remedy=f"dvc queue logs {next(iter(self._failures))} shows all that the first one printed; "
                f"{self._again} runs the failed ones again",
            )
