"""What the worker processes of one test session share: the tests, folders that are built once, and the machine."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest
from xdist.scheduler import LoadScopeScheduling

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
# The tests of each of these files share a clone that takes many seconds to make: one worker runs them all.
TOGETHER = frozenset({"test_compare.py", "test_examples.py", "test_sweep.py", "test_what_reruns.py"})


class InOrder(LoadScopeScheduling):
    """Hands out tests one by one in the order that they were put into, those of a file of TOGETHER at once.

    In place of xdist's own --dist loadgroup: its groups are ignored with pytest 9.2, and the largest group would come
    first whatever the order.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).name in TOGETHER else nodeid


class SharedFolders:
    """Folders that the first test of a session to ask for them builds, whichever worker runs it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        own = factory.getbasetemp()
        self._root = (own.parent if IS_WORKER else own) / "shared"
        self._root.mkdir(exist_ok=True)

    def get(self, name: str, build: Callable[[Path], object]) -> Path:
        """Return the folder of this name, built if no worker has done so. Nobody writes into it afterwards."""
        folder, complete = self._root / name, self._root / f"{name}.complete"
        with filelock.FileLock(self._root / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a worker whose attempt failed
                folder.mkdir()
                build(folder)
                complete.touch()
        return folder


@contextmanager
def turn(alone: bool) -> Iterator[None]:
    """Hold the machine for one test: together with the tests of other workers, or alone if it has a clock."""
    if not IS_WORKER:
        yield
        return
    with Path(__file__).open("rb") as file:  # any file will do; the lock ends with the process, however it ends
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
