"""Which kernels compute a run, and whether two processes compute it alike.

Precision, threads and device do not decide the bits of a result alone: torch, oneDNN and MKL choose their kernels by
the processor and by variables of the environment. A run may resume on other kernels; it is told, and recorded.
"""

from __future__ import annotations

import hashlib
import os
import subprocess

import torch

from minimal_llm.common.compute import Compute
from minimal_llm.common.system import cpu_property
from minimal_llm.model.loss import linear_cross_entropy
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.training.checkpoint import Progress

# What users may set to have torch's libraries choose other kernels.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
PROBED = Architecture(
    vocab_size=512, layers=1, d_model=128, heads=4, feed_forward=256, tie_embeddings=True, max_seq_length=64
)
PROBE_BATCH = 8


def name_kernels(compute: Compute) -> str:
    """Return a readable name of the kernels in use, with a hash of what they compute: "torch 2.9, AVX512, ..."."""
    names = [f"torch {torch.__version__}", *(_gpu() if compute.device == "cuda" else _processor())]
    if compute.compiled:
        names.append(_compiler())
    if compute.processes > 1:
        names.append(f"{compute.processes} processes")
    names += [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return ", ".join([*names, f"probe {probe(compute)}"])


def probe(compute: Compute) -> str:
    """Return 8 hex digits of the gradients of a small model: kernels that compute differently differ in them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TinyTransformer(PROBED).to(compute.device)
    model.set_matmul_dtype(compute.matmul_dtype)
    ids = torch.arange(PROBE_BATCH * PROBED.max_seq_length, device=compute.device) * 7 % PROBED.vocab_size
    hidden = model.hidden(ids.view(PROBE_BATCH, -1)).flatten(0, 1)
    linear_cross_entropy(hidden, model.output_weight, ids, compute.matmul_dtype).backward()  # type: ignore[no-untyped-call]
    digest = hashlib.sha256()
    for parameter in model.parameters():
        assert parameter.grad is not None  # noqa: S101  # every parameter takes part
        digest.update(parameter.grad.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def resumption(progress: Progress, steps_per_epoch: int) -> str:
    """Return the line that tells where a run resumes, and on which kernels if it began on others."""
    (epoch, step), kernels = divmod(progress.step, steps_per_epoch), progress.kernels
    where = f"Resuming from epoch {epoch}, step {step}"
    if len(kernels) < 2:
        return where
    perhaps = "perhaps " if len({name[-8:] for name in kernels}) == 1 else ""  # no difference in the probe
    return (
        f"{where}, on other kernels ({kernels[-1]}) than it was started on ({'; then '.join(kernels[:-1])}): "
        f"the result will be as good, but {perhaps}not byte-identical to an uninterrupted run"
    )


def _processor() -> list[str]:
    units = {
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    present = [name for name, supported in units.items() if supported]
    vendor = cpu_property("vendor_id")  # MKL dispatches on it
    return [*([vendor] if vendor else []), torch.backends.cpu.get_cpu_capability(), *present]


def _gpu() -> list[str]:
    return [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]


def _compiler() -> str:
    compiler = os.environ.get("CXX", "g++")
    done = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=False)
    return f"{compiler} {done.stdout.strip()}"
