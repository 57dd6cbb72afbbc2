"""What this machine is, and what follows from it for precision and threads."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from minimal_llm.config import TrainConfig

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Compute:
    """How the numbers are computed. Another value gives other bits in the result."""

    precision: Precision
    threads: int
    cpu_capability: str  # the instruction set that torch's kernels use, such as AVX512
    torch_version: str

    @property
    def product_dtype(self) -> torch.dtype:
        """The type in which matrix products are taken."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_compute(config: TrainConfig) -> Compute:
    """Resolve the `auto` values of a configuration on this machine and set torch and the allocator up for it."""
    threads = physical_cores() if config.threads == "auto" else config.threads
    precision: Precision = ("bf16" if has_bf16_units() else "fp32") if config.precision == "auto" else config.precision
    torch.set_num_threads(threads)
    keep_freed_memory()
    return Compute(precision, threads, torch.backends.cpu.get_cpu_capability(), torch.__version__)


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors instead of handing it back to the system after each use.

    The kernel zeroes handed-out pages one by one: without this a training step spends a tenth of its time there.
    Where the C library is another one, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # constants of malloc.h: M_TRIM_THRESHOLD -1, M_MMAP_THRESHOLD -3
        mallopt(-1, 2**31 - 1)
        mallopt(-3, 2**30)


def has_bf16_units() -> bool:
    """Return whether bf16 products run in hardware (AVX512-BF16 or AMX); emulated, they are slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def physical_cores() -> int:
    """Return the number of cores that this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
