"""Work in several processes, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from minimal_llm.common.signals import stop_signals
from minimal_llm.common.system import physical_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_A_PROCESS = 4_000_000  # bytes of text: half a second of work for a process that takes as long to start


def processes_for(size: int) -> int:
    """Return how many processes to use for so many bytes of text: one per core, but only one for little text."""
    return max(1, min(physical_cores(), size // WORTH_A_PROCESS))


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """Yield the result of each item, in order, computed in so many processes; with one, in this process.

    Only a few items and results per process are held at a time. Errors of `function` are raised here.

    Raises:
        MemoryError: the system has killed a process.
    """
    if processes == 1:
        yield from map(function, items)
        return
    # Not forked: a copy of a process with threads, such as those of SentencePiece, can hang.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(processes, context, _end_with_parent)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise MemoryError("a process was killed") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    # Signals are for the parent, which stops its workers; one that is killed cannot.
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
