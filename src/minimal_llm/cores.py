"""How many cores there are. Knows nothing of torch."""

from __future__ import annotations

import os

import psutil


def physical_cores() -> int:
    """Return the number of cores that this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
