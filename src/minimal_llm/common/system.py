"""Cores, memory and compiler of this machine, with container limits taken into account. Does not import torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# Compiling takes 30 to 40 s the first time and saves 8 to 15 ms per default step of 4,096 tokens on 2 cores (in
# proportion less for smaller steps), so it pays off in runs of at least this many tokens.
TOKENS_WORTH_COMPILING = 20_000_000
SPIN_VARIABLE = "GOMP_SPINCOUNT"
SPIN_COUNT = 5000  # loops, some microseconds; benchmarks/train_step.py compares a step with and without
CGROUPS = Path("/sys/fs/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
OWN_STATUS = Path("/proc/self/status")
OWN_CGROUPS = Path("/proc/self/cgroup")


def physical_cores() -> int:
    """Return the number of physical cores that this process may use; hyper-threads do not count.

    Affinity (taskset) and the CPU quota of a container limit it. A quota is rounded down: threads spin while they wait
    for one that the kernel has stopped, and use up what is left. With 1.5 cores, two threads trained at 23 to 58 % of
    the speed of one (on a busy machine).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (int(quota) for quota in _cpu_quotas())
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, *quotas))


def limit_spinning() -> None:
    """Make a thread of a matmul that waits for the others give up its core soon. Call it before torch is loaded.

    GNU OpenMP, which torch uses on Linux, lets it spin for milliseconds. That is fastest on an idle machine, but beside
    other work it keeps the core from the very thread that it waits for. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_VARIABLE, str(SPIN_COUNT))


def worth_compiling(wanted: str, tokens: int) -> bool:
    """Return whether train.compile, `wanted`, asks for torch.compile in a run of so many tokens."""
    return wanted == "always" or (wanted == "auto" and tokens >= TOKENS_WORTH_COMPILING)


def has_bf16_flags() -> bool:
    """Return whether the system says that the CPU has bf16 units: without torch, which is asked before a run."""
    return re.search(r"\b(avx512_bf16|amx_tile)\b", _read(CPU_INFO)) is not None


def cpu_property(name: str) -> str:
    """Return what Linux says of the first core, such as its `model name`; "" where it does not say it."""
    found = re.search(rf"^{name}\s*:(.*)", _read(CPU_INFO), re.MULTILINE)
    return found[1].strip() if found else ""


def compiler_problem() -> str | None:
    """Return why torch.compile would not work on this machine, or None. Does not compile anything."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler found ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"the headers of Python {platform.python_version()} are not installed"
    return None


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
    # getrusage would include memory used by the parent process before it started this one
    if found := re.search(r"^VmHWM:\s+(\d+) kB", _read(OWN_STATUS), re.MULTILINE):
        return int(found[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def available_memory_mb() -> float:
    """Return how many MB this process can still allocate: free memory, or less if a cgroup or ulimit caps it."""
    return min([psutil.virtual_memory().available, *_cgroup_headroom(), *_address_space_headroom()]) / 1e6


def _cgroup_headroom() -> Iterator[float]:
    """Yield the bytes left under the memory limit of each cgroup that contains this process."""
    for folder in _cgroups("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            maximum = _read(folder / limit).strip()
            if maximum.isdigit():  # not "max"
                yield int(maximum) - int(_read(folder / used)) + _file_cache(folder)


def _file_cache(group: Path) -> int:
    # The page cache counts as used memory of a cgroup, but the kernel reclaims it before any allocation fails.
    stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
    total = "total_" if "total_active_file" in stat else ""  # version 1: with the groups below
    return int(stat[f"{total}active_file"]) + int(stat[f"{total}inactive_file"])


def _cpu_quotas() -> Iterator[float]:
    """Yield the CPU quota, in cores, of each cgroup that contains this process and has one."""
    for folder in _cgroups("cpu"):
        words = _read(folder / "cpu.max").split()
        words = words or [*_read(folder / "cpu.cfs_quota_us").split(), *_read(folder / "cpu.cfs_period_us").split()]
        if words and words[0].isdigit():  # neither "max" nor -1
            yield int(words[0]) / int(words[1])


def _cgroups(controller: str) -> Iterator[Path]:
    """Yield the folders of the cgroups, from the inside out, that limit this process in what `controller` controls.

    Version 2 has one tree for all controllers, version 1 one for each. None without cgroups, as on macOS.
    """
    for line in _read(OWN_CGROUPS).splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            tree = CGROUPS / controller if controllers else CGROUPS
            group = tree / own.lstrip("/")  # in a container, it may be a path of the host, which does not exist here
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(tree))


def _read(path: Path) -> str:
    """Return the content of a file of the kernel, or "" if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _address_space_headroom() -> Iterator[float]:
    """Yield the bytes left under `ulimit -v`, if it is set."""
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - psutil.Process().memory_info().vms
