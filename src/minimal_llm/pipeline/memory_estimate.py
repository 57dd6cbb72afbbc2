"""The memory that training needs, estimated before torch is loaded."""

from __future__ import annotations

from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.system import available_memory_mb

TORCH_MB = 500  # everything that is not a tensor of ours, most of all torch itself
COMPILER_MB = 200  # torch.compile's modules


def require_memory(config: Config) -> None:
    """Raise TrainingError if training needs more memory than is free. Call it before torch is loaded."""
    needed, free = training_memory_mb(config), available_memory_mb()
    if needed > free:
        change, command = less_memory(config)
        raise TrainingError(
            f"Out of memory: {change} (training needs about {needed:,.0f} MB, {free:,.0f} MB are free)",
            remedy=f"close other programs, or: {command}",
            kind="out_of_memory",
        )


def training_memory_mb(config: Config) -> float:
    """Return the estimated peak memory of stage train in MB: torch, weights and optimizer state, a batch."""
    model, train = config.model, config.train
    states = parameter_estimate(config) * 4 * 6  # weights, gradients, two moments, best weights, a checkpoint
    tokens = train.batch_size * train.max_seq_length
    activations = tokens * model.layers * (12 * model.d_model + 6 * model.feed_forward) * 4
    if train.max_seq_length <= 256:  # beyond, attention scores are never held in memory
        activations += 3 * 4 * model.layers * model.heads * tokens * train.max_seq_length
    loss = min(tokens, 1024) * config.tokenizer.vocab_size * 4
    return TORCH_MB + COMPILER_MB * (train.compile != "never") + (states + activations + loss) / 1e6


def parameter_estimate(config: Config) -> int:
    """Return the number of parameters of the model, without its norms and without building it."""
    model = config.model
    block = 4 * model.d_model**2 + 3 * model.d_model * model.feed_forward
    return 2 * config.tokenizer.vocab_size * model.d_model + model.layers * block


def less_memory(config: Config) -> tuple[str, str]:
    """Return what to change so that training needs less memory, in words and as a command."""
    batch = config.train.batch_size
    if batch <= 8 and config.train.compile != "never":  # with so small a batch, it saves more than half
        return "set train.compile to never", "dvc exp run -S train.compile=never"
    if batch > 1:
        return f"reduce train.batch_size from {batch} to {batch // 2}", f"make train BATCH_SIZE={batch // 2}"
    length = config.train.max_seq_length
    shorter = max(32, length // 2)
    return f"reduce train.max_seq_length from {length} to {shorter}", f"make train MAX_SEQ_LENGTH={shorter}"
