"""The faults that tests cause, and how often: what docs/RELIABILITY.md is written from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

FILE_VARIABLE = "MINIMAL_LLM_CAMPAIGN"  # the file that scripts/reliability.py has the counts written to


class Count(Protocol):
    """Count a fault that the program withstood `rounds` times; `outcome` says what a user sees of it."""

    def __call__(self, area: str, fault: str, outcome: str, rounds: int = 1) -> None: ...


def count(area: str, fault: str, outcome: str, rounds: int = 1) -> None:
    """Append a line to the file of counts, if there is one. Call it last in a test, after what it asserts."""
    if path := os.environ.get(FILE_VARIABLE):
        line = {"area": area, "fault": fault, "outcome": outcome, "rounds": rounds}
        with Path(path).open("a", encoding="utf-8") as file:  # one short write in append mode: no worker cuts another's
            file.write(json.dumps(line) + "\n")


def seeded(request: pytest.FixtureRequest) -> Random:
    """Return random numbers for a test, from the seed that pytest-randomly prints and takes (-p randomly_seed=N)."""
    seed = f"{request.config.getoption('randomly_seed')} {request.node.nodeid}"
    print(f"seed of the random numbers: {seed}")  # pytest shows it if the test fails
    return Random(seed)
