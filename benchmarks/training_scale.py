"""What training costs in one process and in two, in parts, and for the largest model: time, memory, and the estimate.

    python benchmarks/training_scale.py            # show the results
    python benchmarks/training_scale.py --all      # run those without a result, five minutes on an idle machine

Each run trains on data/tokens with the stage script, so run `make train` first. Results are saved in
docs/reference/training_scale.json and shown in docs/SCALING.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from results import CommandFailed, Result, Results, exit_code, parse_runs

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import flatten, load_config
from minimal_llm.common.files import read_json, size_of
from minimal_llm.pipeline.memory_estimate import training_memory_mb

SCRATCH = Path("runs/scale")
COLUMNS = """\
| run | processes | threads each | ms/step | tokens/s | peak MB each | estimate MB, all | val loss |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""
SHORT = "--epochs 1 --compile never"
LONG = "--max-seq-length 2048 --epochs 1 --max-steps 3"
LARGEST = f"{LONG} --layers 12 --d-model 512 --heads 8 --feed-forward 2048 --batch-size 2"
RUNS = {
    "default": SHORT,
    "two processes": f"{SHORT} --processes 2",
    "one thread": f"{SHORT} --threads 1",
    "in 4 parts": f"{SHORT} --gradient-accumulation-steps 4",
    "activations computed twice": f"{SHORT} --activation-checkpointing true",
    "32 windows of 2048": LONG,
    "32 windows of 2048, in 8 parts": f"{LONG} --gradient-accumulation-steps 8",
    "12 x 512, 2 windows of 2048": LARGEST,
    "12 x 512, activations computed twice": f"{LARGEST} --activation-checkpointing true",
}


def main() -> None:
    """Run the command line."""
    results = Results(Path("docs/reference/training_scale.json"), tuple(RUNS), COLUMNS, _row)
    runs = parse_runs(__doc__, results)
    results.update(runs, measure)
    results.show()


def measure(name: str) -> Result:
    """Train; return the milliseconds per step, tokens per second, peak memory of a process and its estimate, in MB.

    Raises:
        CommandFailed: training failed.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    flags = RUNS[name].split()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        command = [sys.executable, "stages/train.py", "--output-dir", scratch, *flags]
        code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
        if code:
            raise CommandFailed(code)
        made = Artifacts(Path(scratch))
        speed, quality = read_json(made.train_speed), read_json(made.train_metrics)
    keys = {"--" + key.rpartition(".")[2].replace("_", "-"): key for key in flatten(load_config())}
    changes = {keys[flag]: value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    estimate = training_memory_mb(load_config(overrides=changes), size_of(Artifacts().tokens) // 2)
    return {
        "processes": speed["processes"],
        "threads": speed["threads"],
        "step_ms": round(1000 * speed["steps_seconds"] / quality["steps"], 1),
        "tokens_per_s": speed["tokens_per_s"],
        "peak_memory_mb": speed["peak_memory_mb"],
        "estimate_mb": round(estimate),
        "val_loss": round(quality["val_loss"], 4),
        "cpu": speed["cpu"],
    }


def _row(name: str, result: Result) -> str:
    return (
        f"| {name} | {result['processes']} | {result['threads']} | {result['step_ms']:,.0f} "
        f"| {result['tokens_per_s']:,.0f} | {result['peak_memory_mb']:,.0f} | {result['estimate_mb']:,} "
        f"| {result['val_loss']:.3f} |"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
