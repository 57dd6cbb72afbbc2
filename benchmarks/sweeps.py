"""What each hyperparameter does: one change at a time from a small base, on half a megabyte of the default books.

    python benchmarks/sweeps.py                        # the table, and what is not measured
    python benchmarks/sweeps.py learning_rate=0.001    # run one (or several, names in quotes)
    python benchmarks/sweeps.py --all                  # run all that are not measured yet, on a quiet machine

Every run is the stage scripts in processes of their own, into runs/sweep. Books come from data/raw, where `make train`
puts them, else from a mirror. Results are kept in docs/reference/sweep.json; docs/TRAINING_GUIDE.md shows them.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import EXIT_INTERRUPTED
from minimal_llm.common.files import read_json, write_json

RESULTS = Path("docs/reference/sweep.json")
SCRATCH = Path("runs/sweep")

# In full, so that the sweeps stay what they were if params.yaml changes. These are its defaults but for less text,
# fewer epochs and a smaller vocabulary, which make a run short, and a smaller batch: else it had but 200 steps.
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
        "threads": 1,  # so that processor time is the time it takes on a machine that does nothing else
    },
}
SWEEPS: dict[str, tuple[float, ...]] = {
    "seed": (1, 2),  # how far equal runs lie apart: a smaller difference says nothing
    "learning_rate": (0.0003, 0.001, 0.004),
    "batch_size": (4, 16, 32),
    "epochs": (6,),
    "dropout": (0,),
    "layers": (1, 4),
    "d_model": (64, 256),
    "vocab_size": (1000, 4000),
    "warmup_steps": (0,),
}
# With as many tokens a step as the base: otherwise a longer window would also mean fewer steps.
WINDOWS: tuple[dict[str, float], ...] = ({"max_seq_length": 256, "batch_size": 4},)


def key_of(changes: dict[str, float]) -> str:
    """Return the name of a run, such as learning_rate=0.001."""
    return " ".join(f"{name}={value}" for name, value in changes.items()) or "base"


RUNS = {
    key_of(changes): changes
    for changes in ({}, *({name: value} for name, values in SWEEPS.items() for value in values), *WINDOWS)
}


class StageFailed(Exception):
    """A stage script ended with this exit code; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="run", help="names from the list")
    parser.add_argument("--all", action="store_true", help="run what is not measured yet")
    options = parser.parse_args()
    if unknown := [key for key in options.runs if key not in RUNS]:
        parser.error(f"there is no run {unknown[0]}: python benchmarks/sweeps.py lists them")
    try:
        for key in options.runs or [key for key in RUNS if options.all and key not in _results()]:
            print(key, flush=True)
            result = measure(RUNS[key])
            write_json(RESULTS, {**_results(), key: result})
            print(_row(key, result), flush=True)
    except StageFailed as failure:
        return failure.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    _show(_results())
    return 0


def measure(changes: dict[str, float]) -> dict[str, Any]:
    """Return the losses, the cost and the size of one run.

    `cpu_seconds` (processor time, on one thread) and `peak_memory_mb` (MB of 10^6 bytes) are those of the train stage.

    Raises:
        StageFailed: a stage script did not end well.
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
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _of_train(changes: dict[str, float]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in BASE["train"]}


def _prepare_tokens(vocab_size: int) -> Path:
    """Return the folder with the token files of a vocabulary, made where they are missing."""
    corpus, tokens = SCRATCH / "corpus", SCRATCH / f"vocab_{vocab_size}"
    if not Artifacts(corpus).corpus_manifest.exists():  # each stage writes its last file last
        if Artifacts().raw_books.is_dir():  # nothing is fetched twice
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
        raise StageFailed(code)


def _results() -> dict[str, Any]:
    return dict(read_json(RESULTS)) if RESULTS.exists() else {}


def _row(key: str, result: dict[str, Any]) -> str:
    return (
        f"| {key} | {result['val_loss']:.3f} | {result['val_bits_per_byte']:.3f} | {result['gap']:.3f} | "
        f"{result['cpu_seconds']:.0f} | {result['peak_memory_mb']:.0f} | {result['parameters']:,} |"
    )


def _show(results: dict[str, Any]) -> None:
    """Print all results as a table, and then what is not measured yet."""
    print("| run | val loss | bits a byte | gap | CPU seconds | peak MB | parameters |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for key in RUNS:
        if key in results:
            print(_row(key, results[key]))
    print(f"not measured: {', '.join(key for key in RUNS if key not in results) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
