"""CPU cores and memory of this machine, with container limits taken into account. Does not import torch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Return the number of physical cores that this process may use; hyper-threads do not count."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def is_alive(pid: int, since: float) -> bool:
    """Return whether a process that was there at a time (Unix) still is; its PID may have been reused since."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    return False


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include memory used by the parent process before it started this one
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def available_memory_mb() -> float:
    """Return how many MB this process can still allocate: free memory, or less if a cgroup or ulimit caps it."""
    return min([psutil.virtual_memory().available, *_cgroup_headroom(), *_address_space_headroom()]) / 1e6


def _cgroup_headroom() -> Iterator[float]:
    """Yield the bytes left under the memory limit of each cgroup (version 2) that contains this process."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip().lstrip("/")
    except OSError:  # not Linux
        return
    group = CGROUPS / own
    for folder in (group, *group.parents):
        limit, used = folder / "memory.max", folder / "memory.current"
        if limit.exists() and used.exists():
            maximum = limit.read_text(encoding="ascii").strip()
            if maximum != "max":
                yield int(maximum) - int(used.read_text(encoding="ascii")) + _file_cache(folder)


def _file_cache(group: Path) -> int:
    # The page cache counts as used memory of a cgroup, but the kernel reclaims it before any allocation fails.
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    stat = dict(line.split() for line in lines)
    return int(stat["active_file"]) + int(stat["inactive_file"])


def _address_space_headroom() -> Iterator[float]:
    """Yield the bytes left under `ulimit -v`, if it is set."""
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - psutil.Process().memory_info().vms
