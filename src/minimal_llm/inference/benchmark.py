"""The cost of inference, measured in a fresh process: latency, throughput and memory.

    python -m minimal_llm.inference.benchmark data/best_model.pt 1      # one thread

prints a JSON object with the metrics and every single latency. A fresh process matters: after training or evaluation,
a process would report memory that inference does not need.
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
from minimal_llm.inference.latency import percentile

MEASURED_TOKENS = 300
WARM_UP_TOKENS = 20
STREAMS = 8
MEASURED_BATCHES = 100
PROMPT = "Once upon a time"


@dataclass(frozen=True)
class Measurement:
    """The cost of inference: metrics with the keys of metrics/inference.json, and the latencies behind them."""

    metrics: dict[str, Any]
    latencies_ms: list[float]


def measure_in_fresh_process(model: Path, threads: int = 1) -> Measurement:
    """Return the cost of generating one text, and STREAMS texts at once, with a model.

    Raises:
        ValidationError: the process failed; the message contains its last line of stderr.
    """
    command = [sys.executable, "-m", "minimal_llm.inference.benchmark", str(model), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValidationError(f"measuring {model} failed: {reason}", remedy=" ".join(command), kind="internal")
    return Measurement(**json.loads(done.stdout))


def measure(model_path: Path, threads: int) -> Measurement:
    """Return the cost of inference in this process."""
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
    batch_seconds = _batch_seconds(stream_tokens(runtime.decoder, [prompt] * STREAMS, Sampling(seed=1)))
    metrics = {
        "engine": runtime.engine,
        "latency_p50_ms": round(percentile(latencies, 50), 3),
        "latency_p95_ms": round(percentile(latencies, 95), 3),
        "tokens_per_s": round(1000 * len(latencies) / sum(latencies), 1),
        f"tokens_per_s_{STREAMS}_streams": round(STREAMS * MEASURED_BATCHES / batch_seconds, 1),
        "ready_seconds": round(ready, 3),
        "rss_mb": round(rss, 1),
        "peak_mb": round(peak, 1),
        "model_file_mb": round(runtime.file.stat().st_size / 1e6, 2),
        "threads": threads,
    }
    return Measurement(metrics, latencies)


def _latencies_ms(stream: Iterator[object]) -> list[float]:
    """Return the duration of each of MEASURED_TOKENS steps of a stream, after a warm-up."""
    for _ in range(WARM_UP_TOKENS):
        next(stream)
    latencies = []
    for _ in range(MEASURED_TOKENS):
        begun = time.perf_counter()
        next(stream)
        latencies.append(round(1000 * (time.perf_counter() - begun), 4))
    return latencies


def _batch_seconds(stream: Iterator[object]) -> float:
    """Return the duration of MEASURED_BATCHES steps of a stream, not counting the first, which reads the prompt."""
    next(stream)
    begun = time.perf_counter()
    for _ in range(MEASURED_BATCHES):
        next(stream)
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Path(sys.argv[1]), int(sys.argv[2])))))
