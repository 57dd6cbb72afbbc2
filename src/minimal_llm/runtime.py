"""What inference costs, measured in a process of its own: latency, throughput, memory.

    python -m minimal_llm.runtime data/best_model.pt data/bilingual_8k.model

prints one JSON object. A process that has trained or evaluated would show memory that inference does not need.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from minimal_llm.errors import ValidationError
from minimal_llm.memory import peak_memory_mb

MEASURED_TOKENS = 300
WARM_UP_TOKENS = 20
PROMPT = "Once upon a time"


def measure_in_fresh_process(model: Path, tokenizer: Path) -> dict[str, Any]:
    """Return the figures of one-stream generation on one thread, keys as in metrics/inference.json.

    Raises:
        ValidationError: the process failed; its last line of stderr is in the message.
    """
    command = [sys.executable, "-m", "minimal_llm.runtime", str(model), str(tokenizer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValidationError(f"measuring {model} failed: {reason}", remedy=" ".join(command), kind="internal")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def measure(model_path: Path, tokenizer_path: Path) -> dict[str, Any]:
    """Return the figures of this process."""
    started = time.perf_counter()
    import torch

    from minimal_llm.generation import Sampling, stream_tokens
    from minimal_llm.model_file import load_model
    from minimal_llm.tokenizer import Tokenizer

    torch.set_num_threads(1)
    tokenizer = Tokenizer.load(tokenizer_path)
    model = load_model(model_path, tokenizer.sha256).model
    ready = time.perf_counter() - started
    stream = stream_tokens(model, [tokenizer.bos_id, *tokenizer.encode(PROMPT)], Sampling(seed=1))
    for _ in range(WARM_UP_TOKENS):
        next(stream)
    latencies = []
    for _ in range(MEASURED_TOKENS):
        begun = time.perf_counter()
        next(stream)
        latencies.append(1000 * (time.perf_counter() - begun))
    ordered = sorted(latencies)
    return {
        "latency_p50_ms": round(ordered[len(ordered) // 2], 3),
        "latency_p95_ms": round(ordered[int(len(ordered) * 0.95)], 3),
        "tokens_per_s": round(1000 * len(latencies) / sum(latencies), 1),
        "ready_seconds": round(ready, 3),
        "rss_mb": round(psutil.Process().memory_info().rss / 1e6, 1),
        "peak_mb": round(peak_memory_mb(), 1),
        "model_file_mb": round(model_path.stat().st_size / 1e6, 2),
        "threads": 1,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
