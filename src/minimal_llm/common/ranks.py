"""Which one of the processes that train together this one is, as torchrun says in the environment. No torch here."""

from __future__ import annotations

import os

TEAM_RECORDS = "MINIMAL_LLM_TEAM_RECORDS"  # the folder for errors of the processes that stage train has started


def is_member() -> bool:
    """Return whether torchrun has started this process, as one of several or alone."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def rank() -> int:
    """Return the number of this process among those that train together, from 0."""
    return int(os.environ["RANK"]) if is_member() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if is_member() else 1


def local_rank() -> int:
    """Return the number of this process among those on the same machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if is_member() else 0


def local_size() -> int:
    """Return how many of the processes are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if is_member() else 1
