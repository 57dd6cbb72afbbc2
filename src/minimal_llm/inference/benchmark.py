"""What inference costs, measured in a process of its own: latency, throughput, memory.

    python -m minimal_llm.inference.benchmark data/best_model.pt 1      # one thread

prints one JSON object: the figures, and every latency. A process that has trained or evaluated would show memory that
inference does not need.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from minimal_llm.common.errors import ValidationError
from minimal_llm.common.system import peak_memory_mb

MEASURED_TOKENS = 300
WARM_UP_TOKENS = 20
STREAMS = 8
MEASURED_BATCHES = 100
PROMPT = "Once upon a time"


@dataclass(frozen=True)
class Measurement:
    """What inference costs: the figures, keys as in metrics/inference.json, and the latencies behind them."""

    figures: dict[str, Any]
    latencies_ms: list[float]


def measure_in_fresh_process(model: Path, threads: int = 1) -> Measurement:
    """Return what one-stream and eight-stream generation costs.

    Raises:
        ValidationError: the process failed; its last line of stderr is in the message.
    """
    command = [sys.executable, "-m", "minimal_llm.inference.benchmark", str(model), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValidationError(f"measuring {model} failed: {reason}", remedy=" ".join(command), kind="internal")
    return Measurement(**json.loads(done.stdout))


def measure(model_path: Path, threads: int) -> Measurement:
    """Return what inference costs in this process."""
    started = time.perf_counter()
    from minimal_llm.inference.generation import stream_tokens
    from minimal_llm.inference.runtime import load_runtime
    from minimal_llm.inference.sampling import Sampling

    runtime = load_runtime(model_path, threads)
    tokenizer = runtime.tokenizer
    ready = time.perf_counter() - started
    prompt = [tokenizer.bos_id, *tokenizer.encode(PROMPT)]
    latencies = _latencies_ms(stream_tokens(runtime.decoder, [prompt], Sampling(seed=1)))
    rss = psutil.Process().memory_info().rss / 1e6
    peak = peak_memory_mb()
    streams = stream_tokens(runtime.decoder, [prompt] * STREAMS, Sampling(seed=1))
    next(streams)
    begun = time.perf_counter()
    for _ in range(MEASURED_BATCHES):
        next(streams)
    batch_seconds = time.perf_counter() - begun
    ordered = sorted(latencies)
    figures = {
        "engine": runtime.engine,
        "latency_p50_ms": round(ordered[len(ordered) // 2], 3),
        "latency_p95_ms": round(ordered[int(len(ordered) * 0.95)], 3),
        "tokens_per_s": round(1000 * len(latencies) / sum(latencies), 1),
        f"tokens_per_s_{STREAMS}_streams": round(STREAMS * MEASURED_BATCHES / batch_seconds, 1),
        "ready_seconds": round(ready, 3),
        "rss_mb": round(rss, 1),
        "peak_mb": round(peak, 1),
        "model_file_mb": round(runtime.file.stat().st_size / 1e6, 2),
        "threads": threads,
    }
    return Measurement(figures, latencies)


def _latencies_ms(stream: Iterator[object]) -> list[float]:
    """Return how long each of MEASURED_TOKENS steps of a stream takes, once it is warm."""
    for _ in range(WARM_UP_TOKENS):
        next(stream)
    latencies = []
    for _ in range(MEASURED_TOKENS):
        begun = time.perf_counter()
        next(stream)
        latencies.append(round(1000 * (time.perf_counter() - begun), 4))
    return latencies


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Path(sys.argv[1]), int(sys.argv[2])))))
