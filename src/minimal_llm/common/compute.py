"""What this machine is, and what follows from it for precision and threads."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from minimal_llm.common.config import TrainConfig
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.system import physical_cores

Precision = Literal["fp32", "bf16"]


# Tokens from which on compiling (30 to 40 s the first time) is earned back by its gain: 8 to 15 ms for the 4096 tokens
# of a default step on 2 cores, in proportion less for a smaller one.
TOKENS_WORTH_COMPILING = 20_000_000


@dataclass(frozen=True)
class Compute:
    """How the numbers are computed. Another value gives other bits in the result."""

    device: str  # cpu | cuda
    precision: Precision
    compiled: bool  # whether torch.compile fuses the operations between the matrix products
    threads: int
    cpu_capability: str  # the instruction set that torch's kernels use, such as AVX512
    torch_version: str

    @property
    def product_dtype(self) -> torch.dtype:
        """The type in which matrix products are taken."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_compute(config: TrainConfig, steps: int, compiler_cache: Path) -> Compute:
    """Resolve the `auto` values for a run of so many steps on this machine and set torch and the allocator up for it.

    Raises:
        TrainingError: the configuration asks for a device or a compiler that is not there.
    """
    threads = physical_cores() if config.threads == "auto" else config.threads
    torch.set_num_threads(threads)
    keep_freed_memory()
    device = choose_device(config.device)
    fastest: Precision = "bf16" if has_bf16_units(device) else "fp32"
    precision = fastest if config.precision == "auto" else config.precision
    tokens = steps * config.batch_size * config.max_seq_length
    compiled = choose_compiling(config.compile, tokens, compiler_cache)
    return Compute(device, precision, compiled, threads, torch.backends.cpu.get_cpu_capability(), torch.__version__)


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda`; `auto` takes a GPU where there is one."""
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise TrainingError(
            "train.device is cuda, but torch finds no CUDA device here",
            remedy="set train.device to auto or cpu, or install a CUDA build of torch",
            kind="configuration",
        )
    return "cuda" if present and wanted != "cpu" else "cpu"


def choose_compiling(wanted: str, tokens: int, cache: Path) -> bool:
    """Return whether to use torch.compile, and say why where the answer is not plain from the configuration."""
    if wanted == "never" or (wanted == "auto" and tokens < TOKENS_WORTH_COMPILING):
        return False
    # Below data/, not in a shared temporary folder, and in this process: each of its workers would take 300 MB.
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
        print(f"torch.compile is not used: {problem}")
        return False
    print("torch.compile is used: the first step takes half a minute longer, the others less")
    # The rotation of queries and keys stays as it is; it takes one part in a hundred of a step.
    warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex operators")
    return True


def compiler_problem() -> str | None:
    """Return why torch.compile would not work here, or None. Compiles nothing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"the headers of Python {platform.python_version()} are not installed"
    return None


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


def has_bf16_units(device: str = "cpu") -> bool:
    """Return whether bf16 products run in hardware (a CPU: AVX512-BF16 or AMX); emulated, they are slower than fp32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
