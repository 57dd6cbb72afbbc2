"""Time a training step, and compare it with the obvious program and with the limit of the machine.

    make bench                                      # or: python benchmarks/train_step.py --rounds 20

Each contestant runs in its own process, so that the allocator state of one does not affect another. They take turns,
one step per round, so that background load slows all of them equally. Results are medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from obvious import ObviousTrainer
from results import exit_code
from rich.console import Console
from rich.table import Table
from torch import Tensor

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import choose_compute, cpu_name, has_bf16_units
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.files import write_json
from minimal_llm.common.system import (
    SPIN_VARIABLE,
    compiler_problem,
    limit_spinning,
    peak_memory_mb,
    physical_cores,
)
from minimal_llm.model.transformer import Architecture
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.training.step import Engine
from minimal_llm.training.train import training_batches

WARM_UP_STEPS = 3
OBVIOUS, OURS, COMPILED = "obvious", "this project", "this project, compiled"
OURS_FP32, LIMIT, LIMIT_FP32 = "this project, fp32", "matmuls only", "matmuls only, fp32"

SPINNING = "this project, threads spin"
BUSY_PROCESSES = (1, 2)

Step = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """The measurements of one contestant: seconds of each step, and peak memory of its process in MB."""

    seconds: list[float]
    peak_mb: float

    @property
    def milliseconds(self) -> float:
        """The median time of a step."""
        return 1000 * statistics.median(self.seconds)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=15, help="measured steps of each contestant (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="the folder that contains tokens/ (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    config = load_config()
    tokens = _tokens(Artifacts(options.data_dir))
    limit_spinning()
    metrics = report(race(_contestants(), config, tokens, options.rounds), config)
    metrics["busy"] = report_busy({n: race_beside(n, config, tokens, options.rounds) for n in BUSY_PROCESSES})
    if options.json:
        write_json(options.json, metrics)


def _tokens(artifacts: Artifacts) -> TokenFiles | None:
    if artifacts.tokens.exists():
        return read_tokens(artifacts.tokens)
    print(f"Using random tokens: {artifacts.tokens} does not exist (create it with: dvc repro tokenizer)")
    return None


def _contestants() -> list[str]:
    names = [OBVIOUS, OURS, LIMIT]
    if has_bf16_units():
        names += [OURS_FP32, LIMIT_FP32]
    if compiler_problem() is None:
        names.insert(2, COMPILED)
    return names


def race(names: list[str], config: Config, tokens: TokenFiles | None, rounds: int) -> dict[str, Result]:
    """Let the contestants take turns, one step each for `rounds` rounds; return their measurements."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name in names:
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=_contestant, args=(name, config, tokens, theirs), daemon=True)
        with _spin_limit(name != SPINNING):
            process.start()
        processes.append(process)
        pipes[name].recv()  # warmed up; contestants warm up one at a time
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


def race_beside(busy: int, config: Config, tokens: TokenFiles | None, rounds: int) -> dict[str, Result]:
    """Let this project race with and without limited spinning, beside so many processes that compute all the time."""
    loops = [multiprocessing.get_context("spawn").Process(target=_compute_for_ever, daemon=True) for _ in range(busy)]
    for loop in loops:
        loop.start()
    try:
        return race([OURS, SPINNING], config, tokens, rounds)
    finally:
        for loop in loops:
            loop.kill()


def _compute_for_ever() -> None:
    while True:
        pass


@contextmanager
def _spin_limit(limited: bool) -> Iterator[None]:
    """Start processes in the block with the limit of `limit_spinning`, or without."""
    before = os.environ.pop(SPIN_VARIABLE, None)
    if limited and before is not None:
        os.environ[SPIN_VARIABLE] = before
    try:
        yield
    finally:
        if before is not None:
            os.environ[SPIN_VARIABLE] = before


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
        SPINNING: {"compile": "never"},
        COMPILED: {"compile": "always"},
        LIMIT: {"compile": "never"},
        OURS_FP32: {"compile": "never", "precision": "fp32"},
        LIMIT_FP32: {"compile": "never", "precision": "fp32"},
    }[name]
    config = config.model_copy(update={"train": config.train.model_copy(update=changes)})
    compute = choose_compute(config.train, 1, Path("data/checkpoints/compiled"))
    if name in (LIMIT, LIMIT_FP32):
        return _products(shape, config, compute.matmul_dtype)
    engine = Engine(shape, config, compute, total_steps=3200)
    numbers = iter(range(10**9))
    return lambda: engine.step(next(numbers), *next(batches))


def _shape(config: Config, tokens: TokenFiles | None) -> Architecture:
    vocabulary = tokens.meta.vocab_size if tokens else config.tokenizer.vocab_size
    return Architecture(vocabulary, **config.model.model_dump(), max_seq_length=config.train.max_seq_length)


def _endless(config: Config, tokens: TokenFiles | None) -> Iterator[tuple[Tensor, Tensor]]:
    train = config.train
    if tokens is None:
        while True:
            ids = torch.randint(config.tokenizer.vocab_size, (train.batch_size, train.max_seq_length + 1))
            yield ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    batches = training_batches(config, tokens)
    for epoch in range(10**9):
        yield from batches.epoch(epoch)


def _products(shape: Architecture, config: Config, dtype: torch.dtype) -> Step:
    """Return a step with only the matmuls of one with the full softmax: one each forward, two each backward.

    Tensors are created once, so its time is a lower bound for any program that computes all logits.
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
            for _ in range(2):  # scores from q and k; gradient of the attention weights
                torch.bmm(q, q.transpose(1, 2))
            for _ in range(4):  # attention output; gradients of q, k and v
                torch.bmm(scores, q)

    return step


def report(results: dict[str, Result], config: Config) -> dict[str, Any]:
    """Print the results as a table and return them."""
    tokens = config.train.batch_size * config.train.max_seq_length
    base = results[OBVIOUS].milliseconds
    table = Table(title=f"A training step of {tokens:,} tokens on {cpu_name()}, {physical_cores()} threads")
    for column in ("", "ms", "tokens/s", "x obvious", "peak MB"):
        table.add_column(column, justify="left" if not column else "right")
    metrics: dict[str, Any] = {"cpu": cpu_name(), "threads": physical_cores(), "tokens_per_step": tokens}
    for name, result in results.items():
        ms = result.milliseconds
        table.add_row(name, f"{ms:.1f}", f"{1000 * tokens / ms:,.0f}", f"{base / ms:.2f}", f"{result.peak_mb:,.0f}")
        metrics[name] = {
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
                f"{name}: {base / ms:.2f} times as fast as the obvious program. The matmuls of a step with the full "
                f"softmax alone would take {limit / ms:.0%} of its time."
            )
    return metrics


def report_busy(results: dict[int, dict[str, Result]]) -> dict[str, Any]:
    """Print the steps beside busy processes as a table and return them, in milliseconds."""
    table = Table(title="A training step beside processes that compute all the time, ms")
    for column in ("", *(f"{count} busy" for count in results)):
        table.add_column(column, justify="left" if not column else "right")
    times = {name: {n: race[name].milliseconds for n, race in results.items()} for name in (OURS, SPINNING)}
    for name, by_count in times.items():
        table.add_row(name, *(f"{ms:.1f}" for ms in by_count.values()))
    Console().print(table)
    return {name: {str(n): round(ms, 1) for n, ms in by_count.items()} for name, by_count in times.items()}


if __name__ == "__main__":
    sys.exit(exit_code(main))
