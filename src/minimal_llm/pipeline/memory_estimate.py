"""The memory that each stage needs, estimated before anything large is loaded.

The constants come from the measured peaks of stages (VmHWM); the estimates are 5 to 40 % above them. Sizes of text and
numbers of tokens are upper bounds, as they are not known before the corpus is made.
"""

from __future__ import annotations

import glob
import math
import os
from pathlib import Path

from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import size_of
from minimal_llm.common.system import available_memory_mb, compiler_problem, has_bf16_flags, worth_compiling
from minimal_llm.common.workers import processes_for

TORCH_MB = 420  # everything that is not a tensor of ours, most of all torch itself
COMPILER_MB = 300  # torch.compile's modules, and the C++ compiler that it starts
CHUNK_ROWS = 1024  # of logits, as in model/loss.py
EVALUATED_WINDOWS, EVALUATED_TOKENS = 32, 4096  # in a batch, as in model/perplexity.py
DECODED_WINDOWS, DECODED_TOKENS = 32, 16_384  # as in validation/exports.py
PART_MB, BOOK_MB = 8, 3  # of text that is cleaned at a time: of a file, as in corpus/text_files.py, and of a book
HOLES = 1.15  # the heap has more of them where a step allocates the same things several times
LONGEST_PLAIN_ATTENTION = 256  # as in model/transformer.py: beyond, attention scores are never held in memory


def require_memory(config: Config, tokens: Path) -> None:
    """Raise TrainingError if training on the token files in a folder needs more memory than is free.

    Call it before torch is loaded.
    """
    if uses_gpu(config):
        return
    needed, free = training_memory_mb(config, size_of(tokens) // 2), available_memory_mb()
    if needed > free:
        change, command = less_memory(config)
        raise TrainingError(
            f"Out of memory: {change} (training needs about {needed:,.0f} MB, {free:,.0f} MB are free)",
            remedy=f"close other programs, or: {command}",
            kind="out_of_memory",
        )


def uses_gpu(config: Config) -> bool:
    """Return whether training will probably be on a GPU, whose memory this module does not know. Without torch."""
    device = config.train.device
    return device in ("cuda", "mps") or (device == "auto" and Path("/proc/driver/nvidia/version").exists())


def stages_memory_mb(config: Config) -> dict[str, float]:
    """Return the estimated peak memory of each stage in MB."""
    return {
        "download": _download_mb(config),
        # Most of it is SentencePiece's, while it trains
        "tokenizer": 75 + 25 * min(corpus_mb(config), config.tokenizer.sample_megabytes),
        "training": training_memory_mb(config),
        "validation": _validation_mb(config),
    }


def training_memory_mb(config: Config, tokens: int | None = None) -> float:
    """Return the estimated peak memory of stage train in MB, for so many tokens or, without, for the whole corpus."""
    tokens = token_estimate(config) if tokens is None else tokens
    states = 9 * weights_mb(config)  # weights, gradients, two moments, best weights; four of them when it resumes
    compiler = COMPILER_MB * will_compile(config, tokens)
    each = TORCH_MB + compiler + states + _step_mb(config) + _evaluation_mb(config)
    if config.train.gradient_accumulation_steps > 1:
        each *= HOLES
    if config.train.processes == 1:
        return each
    buckets = weights_mb(config)  # in which DistributedDataParallel collects gradients
    return config.train.processes * (each + buckets) + TORCH_MB  # that of the process which starts the others


def will_compile(config: Config, tokens: int) -> bool:
    """Return whether training uses torch.compile, as common/compute.py decides, for a corpus of so many tokens."""
    trained = config.train.epochs * tokens * (1 - config.split.validation_fraction - config.split.test_fraction)
    return worth_compiling(config.train.compile, round(trained)) and compiler_problem() is None


def _step_mb(config: Config) -> float:
    """Return what the activations of a training step take, which are kept for its backward pass."""
    model, train = config.model, config.train
    tokens = train.batch_size // (train.processes * train.gradient_accumulation_steps) * train.max_seq_length
    layer = 3 * (12 * model.d_model + 6 * model.feed_forward) + _attention_bytes(config, 6)
    bf16 = train.precision == "bf16" or (train.precision == "auto" and has_bf16_flags())
    activations = tokens * layer * (1.15 if bf16 else 1.6) / 1e6  # of a layer
    if train.activation_checkpointing:  # of each layer only its input, and everything of one at a time
        kept = activations + model.layers * tokens * 4 * model.d_model / 1e6
    else:
        kept = model.layers * activations
    return kept + _logits_mb(config, tokens, 4)


def _evaluation_mb(config: Config) -> float:
    """Return what evaluation takes. It keeps one layer at a time, but in fp32, and its batch may be larger."""
    model, length = config.model, config.train.max_seq_length
    tokens = max(1, min(EVALUATED_WINDOWS, EVALUATED_TOKENS // length)) * length
    layer = 4 * (12 * model.d_model + 6 * model.feed_forward) + _attention_bytes(config, 8)
    return tokens * layer / 1e6 + _logits_mb(config, tokens, 6)


def _attention_bytes(config: Config, per_score: int) -> int:
    """Return the bytes of attention per token and layer: its scores, or what the kernel for long windows keeps."""
    length = config.train.max_seq_length
    if length > LONGEST_PLAIN_ATTENTION:
        return 24 * config.model.d_model
    return per_score * config.model.heads * length


def _logits_mb(config: Config, tokens: int, bytes_each: int) -> float:
    return min(tokens, CHUNK_ROWS) * config.tokenizer.vocab_size * bytes_each / 1e6


def _download_mb(config: Config) -> float:
    if config.download.source == "primer":
        return 140 + 6.5 * config.download.primer_megabytes  # of its sentences and stories, so that few repeat
    sizes = file_sizes_mb(config) if config.download.source == "files" else [BOOK_MB]
    processes = processes_for(round(sum(sizes) * 1e6))
    return (60 + 10 * min(PART_MB, max(sizes, default=0.0))) * (processes + 1 if processes > 1 else 1)


def _validation_mb(config: Config) -> float:
    """Return what stage validate takes, with the process in which it measures a model."""
    windows = max(1, min(DECODED_WINDOWS, DECODED_TOKENS // config.train.max_seq_length))
    cached = windows * config.train.max_seq_length * config.model.layers * 2 * config.model.d_model  # keys and values
    return 560 + 4 * weights_mb(config) + cached * 4 / 1e6 + _evaluation_mb(config)


def weights_mb(config: Config) -> float:
    """Return the size of the weights of the model in MB, without its norms and without building it."""
    model = config.model
    block = 4 * model.d_model**2 + 3 * model.d_model * model.feed_forward
    tables = 1 if model.tie_embeddings else 2
    return (tables * config.tokenizer.vocab_size * model.d_model + model.layers * block) * 4 / 1e6


def corpus_mb(config: Config) -> float:
    """Return the size of the text that the corpus is made from, in MB. Files that cannot be found have none."""
    download = config.download
    if download.source == "primer":
        return download.primer_megabytes
    if download.source == "gutenberg":
        return 2 * download.megabytes_per_language
    return sum(file_sizes_mb(config))


def file_sizes_mb(config: Config) -> list[float]:
    """Return the sizes of the files in download.files, in MB; the check of the corpus tells which are not there.

    Not by corpus.text_files.expand: every stage imports this module, and would depend on the reading of text files.
    """
    patterns = [os.path.expanduser(pattern) for pattern in config.download.files]  # noqa: PTH111  # may be no path
    names = {name for pattern in patterns for name in (pattern, *glob.glob(pattern, recursive=True))}  # noqa: PTH207
    return [path.stat().st_size / 1e6 for path in map(Path, names) if path.is_file()]


def token_estimate(config: Config) -> int:
    """Return an upper bound of the number of tokens in the corpus."""
    tokenizer = config.tokenizer
    if tokenizer.model_type in ("char", "word"):  # a word that is not in the vocabulary becomes bytes
        bytes_per_token = 1.0
    else:  # measured: 2.2 for 1000 entries, 3.8 for 8000
        bytes_per_token = min(3.5, 2.1 + 0.5 * math.log2(tokenizer.vocab_size / 1000))
    return round(corpus_mb(config) * 1e6 / bytes_per_token)


def less_memory(config: Config) -> tuple[str, str]:
    """Return what to change so that training needs less memory, in words and as a command."""
    batch = config.train.batch_size
    if batch <= 8 and will_compile(config, token_estimate(config)):  # its part is larger than that of so small a batch
        return "set train.compile to never", "dvc exp run -S train.compile=never"
    if batch > 1:
        return f"reduce train.batch_size from {batch} to {batch // 2}", f"make train BATCH_SIZE={batch // 2}"
    length = config.train.max_seq_length
    shorter = max(32, length // 2)
    return f"reduce train.max_seq_length from {length} to {shorter}", f"make train MAX_SEQ_LENGTH={shorter}"
