"""How fast a training step is, against the obvious program and against the limit of the machine.

    make bench                                      # or: python benchmarks/train_step.py --rounds 20

Each contestant lives in a process of its own, because what one does to the allocator must not help another. They take
turns, one step each a round, so that a slow minute of the machine is slow for all of them. The figures are medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from obvious import ObviousTrainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import choose_compute, compiler_problem, cpu_name, has_bf16_units
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import MinimalLlmError
from minimal_llm.common.files import write_json
from minimal_llm.common.system import peak_memory_mb, physical_cores
from minimal_llm.model.transformer import Architecture
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.step import Engine

WARM_UP_STEPS = 3
OBVIOUS, OURS, COMPILED = "obvious", "this project", "this project, compiled"
OURS_FP32, LIMIT, LIMIT_FP32 = "this project, fp32", "matrix products alone", "matrix products alone, fp32"

Step = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """What one contestant measured: seconds of each step, and the peak memory of its process in MB."""

    seconds: list[float]
    peak_mb: float

    @property
    def milliseconds(self) -> float:
        """The median of a step."""
        return 1000 * statistics.median(self.seconds)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="steps of each contestant that count (default: 15)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where tokens/ is (default: data)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    try:
        config = load_config()
        tokens = _tokens(Artifacts(options.data_dir))
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    figures = report(race(_contestants(), config, tokens, options.rounds), config)
    if options.json:
        write_json(options.json, figures)
    return 0


def _tokens(artifacts: Artifacts) -> TokenFiles | None:
    if artifacts.tokens.exists():
        return read_tokens(artifacts.tokens)
    print(f"random tokens: there are none in {artifacts.tokens} (dvc repro tokenizer makes some)")
    return None


def _contestants() -> list[str]:
    names = [OBVIOUS, OURS, LIMIT]
    if has_bf16_units():
        names += [OURS_FP32, LIMIT_FP32]
    if compiler_problem() is None:
        names.insert(2, COMPILED)
    return names


def race(names: list[str], config: Config, tokens: TokenFiles | None, rounds: int) -> dict[str, Result]:
    """Let each contestant take a step in turn, `rounds` times; return what each measured."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name in names:
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=_contestant, args=(name, config, tokens, theirs), daemon=True)
        process.start()
        processes.append(process)
        pipes[name].recv()  # it is warm; the next one warms up alone
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            pipes[name].send("step")
            seconds[name].append(pipes[name].recv())
    results = {}
    for name, process in zip(names, processes, strict=True):
        pipes[name].send("stop")
        results[name] = Result(seconds[name], pipes[name].recv())
        process.join()
    return results


def _contestant(name: str, config: Config, tokens: TokenFiles | None, pipe: Connection) -> None:
    step = _make_step(name, config, tokens)
    for _ in range(WARM_UP_STEPS):
        step()
    pipe.send("warm")
    while pipe.recv() == "step":
        started = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - started)
    pipe.send(peak_memory_mb())


def _make_step(name: str, config: Config, tokens: TokenFiles | None) -> Step:
    torch.manual_seed(0)
    shape = _shape(config, tokens)
    batches = _endless(config, tokens)
    if name == OBVIOUS:
        torch.set_num_threads(physical_cores())
        obvious = ObviousTrainer(shape)
        return lambda: obvious.step(*next(batches))
    changes = {
        OURS: {"compile": "never"},
        COMPILED: {"compile": "always"},
        LIMIT: {"compile": "never"},
        OURS_FP32: {"compile": "never", "precision": "fp32"},
        LIMIT_FP32: {"compile": "never", "precision": "fp32"},
    }[name]
    config = config.model_copy(update={"train": config.train.model_copy(update=changes)})
    compute = choose_compute(config.train, 1, Path("data/checkpoints/compiled"))
    if name in (LIMIT, LIMIT_FP32):
        return _products(shape, config, compute.product_dtype)
    engine = Engine(shape, config, compute, total_steps=3200)
    numbers = iter(range(10**9))
    return lambda: engine.step(next(numbers), *next(batches))


def _shape(config: Config, tokens: TokenFiles | None) -> Architecture:
    model = config.model
    vocabulary = tokens.meta.vocab_size if tokens else config.tokenizer.vocab_size
    return Architecture(
        vocabulary, model.layers, model.d_model, model.heads, model.feed_forward, config.train.max_seq_length
    )


def _endless(config: Config, tokens: TokenFiles | None) -> Iterator[tuple[Tensor, Tensor]]:
    train = config.train
    if tokens is None:
        while True:
            ids = torch.randint(config.tokenizer.vocab_size, (train.batch_size, train.max_seq_length + 1))
            yield ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    batches = TrainingBatches(tokens.train, train.batch_size, train.max_seq_length, config.seed)
    for epoch in range(10**9):
        yield from batches.epoch(epoch)


def _products(shape: Architecture, config: Config, dtype: torch.dtype) -> Step:
    """Return a step of nothing but the matrix products of a training step: forward, and two for each backward.

    Tensors are made once, so that it is the time that no program with these shapes can go below.
    """
    rows = config.train.batch_size * shape.max_seq_length
    width, inner, heads = shape.d_model, shape.feed_forward, shape.heads
    layer = [(rows, width, 3 * width), (rows, width, width), (rows, width, 2 * inner), (rows, inner, width)]
    sizes = layer * shape.layers + [(1024, width, shape.vocab_size)] * max(1, rows // 1024)
    operands: dict[tuple[int, int, int], tuple[Tensor, Tensor, Tensor]] = {
        (n, i, o): (torch.randn(n, i).to(dtype), torch.randn(o, i).to(dtype), torch.randn(n, o).to(dtype))
        for n, i, o in set(sizes)
    }
    groups, length, part = config.train.batch_size * heads, shape.max_seq_length, width // heads
    q = torch.randn(groups, length, part).to(dtype)
    scores = torch.randn(groups, length, length).to(dtype)

    def step() -> None:
        for size in sizes:
            x, weight, y = operands[size]
            torch.mm(x, weight.t())
            torch.mm(y, weight)
            torch.mm(y.t(), x)
        for _ in range(shape.layers):
            for _ in range(2):  # scores from q and k, the gradient of the weights from that of the output and v
                torch.bmm(q, q.transpose(1, 2))
            for _ in range(4):  # the output, and the gradients of q, k and v
                torch.bmm(scores, q)

    return step


def report(results: dict[str, Result], config: Config) -> dict[str, Any]:
    """Print the table and return its figures."""
    tokens = config.train.batch_size * config.train.max_seq_length
    base = results[OBVIOUS].milliseconds
    table = Table(title=f"a training step of {tokens:,} tokens: {cpu_name()}, {physical_cores()} threads")
    for column in ("", "ms", "tokens/s", "x obvious", "peak MB"):
        table.add_column(column, justify="left" if not column else "right")
    figures: dict[str, Any] = {"cpu": cpu_name(), "threads": physical_cores(), "tokens_per_step": tokens}
    for name, result in results.items():
        ms = result.milliseconds
        table.add_row(name, f"{ms:.1f}", f"{1000 * tokens / ms:,.0f}", f"{base / ms:.2f}", f"{result.peak_mb:,.0f}")
        figures[name] = {
            "ms": round(ms, 1),
            "times_obvious": round(base / ms, 2),
            "peak_mb": round(result.peak_mb, 1),
        }
    console = Console()
    console.print(table)
    limit = results[LIMIT].milliseconds
    for name in (OURS, COMPILED):
        if name in results:
            ms = results[name].milliseconds
            console.print(
                f"{name}: {base / ms:.2f} times as fast as the obvious program. The matrix products alone are "
                f"{100 * limit / ms:.0f} % of its time and would allow {base / limit:.2f} times."
            )
    return figures


if __name__ == "__main__":
    sys.exit(main())
