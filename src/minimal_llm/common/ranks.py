"""Which one of the processes that train together this one is. No torch here.

torchrun, Kubernetes or a job of Slurm say so in the environment, by the variables of torch.distributed.
"""

from __future__ import annotations

import os

TEAM_RECORDS = "MINIMAL_LLM_TEAM_RECORDS"  # the folder for errors of the processes that stage train has started


def is_member() -> bool:
    """Return whether this process was started as one of several, which may be one."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def rank() -> int:
    """Return the number of this process among those that train together, from 0."""
    return int(os.environ["RANK"]) if is_member() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if is_member() else 1


def local_rank() -> int:
    """Return the number of this process among those on the same machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_member() else 0


def local_size() -> int:
    """Return how many of the processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_member() else 1
