"""Memory: what this process has taken, what it may still take, what training will take. Knows nothing of torch."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:  # a device that generates does without pydantic
    from minimal_llm.config import Config
from minimal_llm.errors import TrainingError

TORCH_MB = 500  # what is no tensor of ours, torch itself before all
COMPILER_MB = 200  # torch.compile's own modules
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


def require_memory(config: Config) -> None:
    """Raise TrainingError if training is bound to need more memory than there is. Ask before torch is loaded."""
    needed, free = training_memory_mb(config), available_memory_mb()
    if needed > free:
        change, command = less_memory(config)
        raise TrainingError(
            f"Out of memory: {change} (training needs about {needed:,.0f} MB, {free:,.0f} MB are free)",
            remedy=f"close other programs, or: {command}",
            kind="out_of_memory",
        )


def training_memory_mb(config: Config) -> float:
    """Return the estimated peak memory of the train stage in MB: torch, weights with their moments, a batch."""
    model, train = config.model, config.train
    states = parameter_estimate(config) * 4 * 6  # weights, gradients, two moments, best weights, a checkpoint in memory
    tokens = train.batch_size * train.max_seq_length
    activations = tokens * model.layers * (12 * model.d_model + 6 * model.feed_forward) * 4
    if train.max_seq_length <= 256:  # above, the scores of attention are never held
        activations += 3 * 4 * model.layers * model.heads * tokens * train.max_seq_length
    loss = min(tokens, 1024) * config.tokenizer.vocab_size * 4
    return TORCH_MB + COMPILER_MB * (train.compile != "never") + (states + activations + loss) / 1e6


def parameter_estimate(config: Config) -> int:
    """Return the number of parameters of the model (norms aside), without building it."""
    model = config.model
    block = 4 * model.d_model**2 + 3 * model.d_model * model.feed_forward
    return 2 * config.tokenizer.vocab_size * model.d_model + model.layers * block


def less_memory(config: Config) -> tuple[str, str]:
    """Return what to change so that training takes less memory, in words and as a command."""
    batch = config.train.batch_size
    if batch <= 8 and config.train.compile != "never":  # saves more than half of so small a batch
        return "set train.compile to never", "dvc exp run -S train.compile=never"
    if batch > 1:
        return f"reduce train.batch_size from {batch} to {batch // 2}", f"make train BATCH_SIZE={batch // 2}"
    length = config.train.max_seq_length
    shorter = max(32, length // 2)
    return f"reduce train.max_seq_length from {length} to {shorter}", f"make train MAX_SEQ_LENGTH={shorter}"
