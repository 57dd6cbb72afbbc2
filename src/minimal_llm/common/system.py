"""How many cores there are. Knows nothing of torch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:  # a device that generates does without pydantic
    pass


def physical_cores() -> int:
    """Return the number of cores that this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


CGROUPS = Path("/sys/fs/cgroup")


def peak_memory_mb() -> float:
    """Return the highest resident memory of this process so far, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the process that started this one had taken before
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def available_memory_mb() -> float:
    """Return what this process may still take: what the machine has free, or less where a limit is set on it."""
    return min([psutil.virtual_memory().available, *_cgroup_rooms(), *_address_space_room()]) / 1e6


def _cgroup_rooms() -> Iterator[float]:
    """Yield the bytes that are left below the limit of each control group (version 2) around this process."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip().lstrip("/")
    except OSError:  # no Linux
        return
    group = CGROUPS / own
    for folder in (group, *group.parents):
        limit, used = folder / "memory.max", folder / "memory.current"
        if limit.exists() and used.exists():
            maximum = limit.read_text(encoding="ascii").strip()
            if maximum != "max":
                yield int(maximum) - int(used.read_text(encoding="ascii")) + _file_cache(folder)


def _file_cache(group: Path) -> int:
    # What a control group has read from files counts as used, but the system takes it back before anyone runs short.
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    figures = dict(line.split() for line in lines)
    return int(figures["active_file"]) + int(figures["inactive_file"])


def _address_space_room() -> Iterator[float]:
    """Yield the bytes that are left below `ulimit -v`, if that is set."""
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - psutil.Process().memory_info().vms
