"""The effect of each hyperparameter: one change at a time from a small base, on half a megabyte of the default books.

    python benchmarks/sweeps.py                        # show the results
    python benchmarks/sweeps.py learning_rate=0.001    # run one (or several; quote names with spaces)
    python benchmarks/sweeps.py --all                  # run those without a result, on an idle machine

Each run uses the stage scripts, in runs/sweep. Books are taken from data/raw, where `make train` saves them, or
downloaded. Results are saved in docs/reference/sweep.json and shown in docs/TRAINING_GUIDE.md.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import CommandFailed, Result, Results, exit_code, parse_runs

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.files import read_json

SCRATCH = Path("runs/sweep")
COLUMNS = """\
| run | val loss | bits per byte | gap | CPU seconds | peak MB | parameters |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""

# Written out in full, so that old results stay comparable when params.yaml changes. Apart from less text, fewer epochs
# and a smaller vocabulary, which keep runs short, and a smaller batch for more than 200 steps, these are the defaults.
BASE: dict[str, dict[str, Any]] = {
    "download": {
        "source": "gutenberg",
        "offline_fallback": "false",
        "megabytes_per_language": 0.25,
        "books_en": (11, 55, 2591),
        "books_es": (17340, 16961),
    },
    "tokenizer": {
        "validation_fraction": 0.1,
        "block_bytes": 4096,
        "name": "bilingual_8k",
        "vocab_size": 2000,
        "model_type": "unigram",
        "threads": 2,
    },
    "train": {
        "seed": 1234,
        "layers": 2,
        "d_model": 128,
        "heads": 4,
        "feed_forward": 256,
        "epochs": 3,
        "batch_size": 8,
        "max_seq_length": 128,
        "learning_rate": 0.002,
        "warmup_steps": 100,
        "min_learning_rate_ratio": 0.1,
        "weight_decay": 0.1,
        "dropout": 0.35,
        "dropout_rise_ratio": 0.25,
        "gradient_clip": 1.0,
        "threads": 1,  # so that CPU time equals the duration on an idle machine
    },
}
SWEEPS: dict[str, tuple[float, ...]] = {
    "seed": (1, 2),  # the spread between seeds: smaller differences mean nothing
    "learning_rate": (0.0003, 0.001, 0.004),
    "batch_size": (4, 16, 32),
    "epochs": (6,),
    "dropout": (0,),
    "layers": (1, 4),
    "d_model": (64, 256),
    "vocab_size": (1000, 4000),
    "warmup_steps": (0,),
}
# As many tokens per step as the base: otherwise longer sequences would also mean fewer steps.
WINDOWS: tuple[dict[str, float], ...] = ({"max_seq_length": 256, "batch_size": 4},)


def key_of(changes: dict[str, float]) -> str:
    """Return the name of a run, for example learning_rate=0.001."""
    return " ".join(f"{name}={value}" for name, value in changes.items()) or "base"


RUNS = {
    key_of(changes): changes
    for changes in ({}, *({name: value} for name, values in SWEEPS.items() for value in values), *WINDOWS)
}


def main() -> None:
    """Run the command line."""
    results = Results(Path("docs/reference/sweep.json"), tuple(RUNS), COLUMNS, _row)
    runs = parse_runs(__doc__, results)
    results.update(runs, lambda run: measure(RUNS[run]))
    results.show()


def measure(changes: dict[str, float]) -> Result:
    """Run the pipeline with some hyperparameters changed; return its losses, cost and number of parameters.

    `cpu_seconds` (on one thread) and `peak_memory_mb` (MB of 10^6 bytes) are those of the train stage.

    Raises:
        CommandFailed: a stage failed.
    """
    tokens = _prepare_tokens(int(changes.get("vocab_size", BASE["tokenizer"]["vocab_size"])))
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        before = _cpu_seconds()
        _run_stage("train", tokens, Path(folder), BASE["train"] | _of_train(changes))
        seconds = _cpu_seconds() - before
        made = Artifacts(Path(folder))
        losses, cost = read_json(made.train_metrics), read_json(made.train_speed)
    return {
        **{name: round(losses[name], 4) for name in ("val_loss", "val_bits_per_byte", "gap")},
        "cpu_seconds": round(seconds, 1),
        **{name: cost[name] for name in ("peak_memory_mb", "precision")},
        "parameters": losses["parameters"],
    }


def _cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _of_train(changes: dict[str, float]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in BASE["train"]}


def _prepare_tokens(vocab_size: int) -> Path:
    """Return the folder with the token files for a vocabulary size, creating them if necessary."""
    corpus, tokens = SCRATCH / "corpus", SCRATCH / f"vocab_{vocab_size}"
    if not Artifacts(corpus).corpus_manifest.exists():  # the file that the stage writes last
        if Artifacts().raw_books.is_dir():  # do not download anything twice
            shutil.copytree(Artifacts().raw_books, Artifacts(corpus).raw_books, dirs_exist_ok=True)
        _run_stage("download", corpus, corpus, BASE["download"])
    if not Artifacts(tokens).tokenizer_metrics.exists():
        _run_stage("tokenizer", corpus, tokens, BASE["tokenizer"] | {"vocab_size": vocab_size})
    return tokens


def _run_stage(stage: str, inputs: Path, outputs: Path, parameters: dict[str, Any]) -> None:
    flags = []
    for name, value in parameters.items():
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    command = [sys.executable, f"stages/{stage}.py", "--data-dir", str(inputs), "--output-dir", str(outputs), *flags]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if code:
        raise CommandFailed(code)


def _row(name: str, result: Result) -> str:
    return (
        f"| {name} | {result['val_loss']:.3f} | {result['val_bits_per_byte']:.3f} | {result['gap']:.3f} | "
        f"{result['cpu_seconds']:.0f} | {result['peak_memory_mb']:.0f} | {result['parameters']:,} |"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
