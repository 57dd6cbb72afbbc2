from __future__ import annotations

import os
import signal
import time

import pytest

from minimal_llm.common.errors import CorpusError
from minimal_llm.common.workers import map_in_order


def slower_for_small(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number < 2))
    return number, os.getpid()


def refuse(number: int) -> int:
    if number == 3:
        raise CorpusError("3 is not accepted", remedy="leave it out", kind="network")
    return number


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    results = list(map_in_order(slower_for_small, range(20), processes))
    assert [number for number, _ in results] == list(range(20))
    assert (os.getpid() in {process for _, process in results}) == (processes == 1)


def test_items_are_taken_only_as_results_are_used() -> None:
    taken = []
    results = map_in_order(slower_for_small, (taken.append(n) or n for n in range(1000)), 2)  # type: ignore[func-returns-value]
    assert next(results)[0] == 0
    assert len(taken) < 10
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_arrives_as_it_was(processes: int) -> None:
    with pytest.raises(CorpusError, match="3 is not accepted") as caught:
        list(map_in_order(refuse, range(9), processes))
    assert (caught.value.remedy, caught.value.kind) == ("leave it out", "network")


def test_a_killed_process_is_an_error() -> None:
    with pytest.raises(MemoryError):
        list(map_in_order(die, range(3), 2))
