"""How training uses the hardware of this machine: device, precision, threads and torch.compile."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from minimal_llm.common.config import TrainConfig
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.ranks import local_size, world_size
from minimal_llm.common.system import compiler_problem, cpu_property, physical_cores, worth_compiling

Precision = Literal["fp32", "bf16"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True)
class Compute:
    """What the `auto` settings resolve to. A different value in any field changes the bits of the result."""

    device: str  # cpu | cuda | mps
    precision: Precision
    compiled: bool  # whether torch.compile fuses the operations between the matmuls
    threads: int  # of each process
    processes: int = 1

    @property
    def matmul_dtype(self) -> torch.dtype:
        """The data type of the matmuls; everything else is computed in fp32."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_compute(config: TrainConfig, steps: int, compiler_cache: Path) -> Compute:
    """Resolve the `auto` settings for a run of `steps` steps, and configure torch and the allocator accordingly.

    Raises:
        TrainingError: the configuration requires a device or a compiler that is not available.
    """
    threads = max(1, physical_cores() // local_size()) if config.threads == "auto" else config.threads
    torch.set_num_threads(threads)
    keep_freed_memory()
    device = choose_device(config.device)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS refuses to be deterministic
        torch.use_deterministic_algorithms(True)
    fastest: Precision = "bf16" if has_bf16_units(device) else "fp32"
    precision = fastest if config.precision == "auto" else config.precision
    tokens = steps * config.batch_size * config.max_seq_length
    compiled = choose_compiling(config.compile, device, tokens, compiler_cache)
    return Compute(device, precision, compiled, threads, world_size())


def choose_device(wanted: str) -> str:
    """Return `cpu`, `cuda` or `mps`; `auto` uses an NVIDIA GPU if there is one. That of a Mac (mps) is untested."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if present["cuda"] else "cpu"
    if not present[wanted]:
        raise TrainingError(
            f"train.device is {wanted}, but torch finds no such device on this machine",
            remedy="set train.device to auto or cpu, or install a build of torch for the device",
            kind="configuration",
        )
    return wanted


def choose_compiling(wanted: str, device: str, tokens: int, cache: Path) -> bool:
    """Return whether to use torch.compile, printing the reason where the configuration alone does not decide it."""
    # On a GPU, every operation that is not fused costs a launch: compiling pays off in short runs, too.
    if not worth_compiling(wanted, tokens) and (device, wanted) != ("cuda", "auto"):
        return False
    # Cache under data/, not in a shared temporary folder. Compile in this process: each worker would take 300 MB.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.resolve())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    problem = compiler_problem()
    if problem and wanted == "always":
        raise TrainingError(
            f"train.compile is always, but {problem}",
            remedy="install g++ and the Python headers (apt install g++ python3-dev), or set train.compile to auto",
            kind="configuration",
        )
    if problem:
        print(f"Not using torch.compile: {problem}")
        return False
    print("Using torch.compile: the first step takes about 30 s longer, all later steps are faster")
    # Rotary embeddings use complex numbers, which are not compiled; they take 1 % of a step.
    warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex operators")
    return True


def keep_freed_memory() -> None:
    """Make glibc reuse the memory of large tensors instead of returning it to the kernel after each use.

    The kernel zeroes every page that it hands out: without this, a training step spends 10 % of its time there.
    With any other C library this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Either setting switches off glibc's own adjustment of the other, so trimming must not be set unless the threshold
    # was: with its initial 128 KB, every tensor would be mapped anew. Before 2.35, glibc refuses more than 32 MB.
    if mallopt is not None and any(mallopt(M_MMAP_THRESHOLD, size) for size in (2**30, 32 * 2**20)):
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def has_bf16_units(device: str = "cpu") -> bool:
    """Return whether bf16 matmuls run in hardware (CPU: AVX512-BF16 or AMX). Emulated, they are slower than fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def cpu_name() -> str:
    """Return the model name of the CPU as the operating system reports it."""
    return cpu_property("model name") or platform.processor() or platform.machine()
