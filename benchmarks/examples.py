"""Cost and result of each example: runs the recipes of examples/ at full length, each in a clone of its own.

    python benchmarks/examples.py                # show the results
    python benchmarks/examples.py low-memory     # run one (or several)
    python benchmarks/examples.py --all          # run those without a result, half an hour on an idle machine

Runs the last commit. Books are taken from data/raw, where `make train` saves them, or downloaded. The results of
`balanced` are those in data/metrics, so run `make train` first. Results are saved in docs/reference/examples.json and
shown in examples/README.md; the ladder of sizes is drawn in docs/reference/ladder.png.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from results import CommandFailed, Result, Results, exit_code, parse_runs

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.files import read_json
from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.manifest import read_corpus
from minimal_llm.experiments.example import examples
from minimal_llm.model.model_file import load_model
from minimal_llm.model.perplexity import Evaluation, evaluate
from minimal_llm.tokenizer.build import encode_segments
from minimal_llm.tokenizer.split import split_documents
from minimal_llm.tokenizer.tokenizer import Tokenizer

SCRATCH = Path("runs/examples")
REFERENCE = "balanced"
LADDER_PICTURE = Path("docs/reference/ladder.png")
LADDER = ("tiny", "balanced", "high-quality")
COLUMNS = """\
| example | corpus | val loss | bits per byte | on the text of balanced | minutes | peak MB | parameters |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    """Run the command line."""
    results = Results(Path("docs/reference/examples.json"), tuple(examples()), COLUMNS, _row)
    runs = parse_runs(__doc__, results)
    results.update(runs, measure)
    results.show()
    if runs and set(LADDER) <= results.read().keys():
        draw_ladder(results.read())


def measure(name: str) -> Result:
    """Run an example; return its losses, corpus, parameters, minutes, and peak memory in MB (10^6 bytes).

    `minutes` is the training time; for `resume` and `sweep`, which train several times, that of the whole command.

    Raises:
        CommandFailed: the example failed.
    """
    if name == REFERENCE:
        return _trained(Artifacts())
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        folder = _clone(Path(scratch))
        # As `make example` does, which would not use the environment of another folder.
        command = ["minimal-llm", "example", name, *(["--jobs", "2"] if name == "sweep" else [])]
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        started = time.monotonic()
        code = subprocess.run(command, cwd=folder, env=environment, check=False, stdin=subprocess.DEVNULL).returncode
        if code:
            raise CommandFailed(code)
        minutes = round((time.monotonic() - started) / 60, 2)
        if name == "sweep":
            return {**_swept(folder), "minutes": minutes}
        if name == "resume":
            return {**_trained(Artifacts(folder / "runs/resume/whole")), "minutes": minutes}
        return _trained(Artifacts(folder / "data"))


def _clone(scratch: Path) -> Path:
    folder = (scratch / "minimal-llm").resolve()
    subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)
    if Artifacts().raw_books.is_dir():
        shutil.copytree(Artifacts().raw_books, folder / Artifacts().raw_books)
    return folder


def _trained(made: Artifacts) -> Result:
    result = _result(read_json(made.train_metrics), read_json(made.train_speed))
    if result["corpus"] != "gutenberg":
        return result
    return {**result, "bits_per_byte_balanced": round(_bits_on_reference_text(made), 4)}


def _bits_on_reference_text(made: Artifacts) -> float:
    """Return the bits per byte of a model on the validation text of the reference run, with its own tokenizer.

    A model of more books has not been trained on this text: blocks are counted from the first book on.
    """
    split = load_config().split
    trained = {one.text for one in split_documents(read_corpus(made).documents(), split) if one.split == "train"}
    tokenizer = Tokenizer.load(made.tokenizer_model)
    model = load_model(made.best_model, tokenizer.sha256).model
    parts = Evaluation(0.0, 0, 0)
    for language in LANGUAGES:
        segments = [
            one for one in split_documents(read_corpus(Artifacts()).documents(language), split) if one.split == "val"
        ]
        assert trained.isdisjoint(segment.text for segment in segments)  # noqa: S101
        encoded = encode_segments(tokenizer.model, segments)
        parts += evaluate(model, encoded.ids["val"], encoded.sizes["val"])
    return parts.bits_per_byte


def draw_ladder(results: dict[str, Result]) -> None:
    """Draw bits per byte on the same text against the minutes of training, for each rung."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    rungs = [results[name] for name in LADDER]
    axes.plot([r["minutes"] for r in rungs], [r["bits_per_byte_balanced"] for r in rungs], "o-")
    for name, rung in zip(LADDER, rungs, strict=True):
        label = f"{name}, {rung['parameters'] / 1e6:.2f} million"
        axes.annotate(label, (rung["minutes"], rung["bits_per_byte_balanced"]), (6, 6), textcoords="offset points")
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("bits per byte, same text")
    axes.set_xlim(0, 1.6 * max(rung["minutes"] for rung in rungs))  # room for the labels
    axes.margins(y=0.2)
    figure.savefig(LADDER_PICTURE, dpi=100, metadata={"Software": None})


def _result(quality: dict[str, Any], cost: dict[str, Any]) -> Result:
    return {
        "corpus": quality["corpus"],
        "val_loss": round(quality["val_loss"], 4),
        "bits_per_byte": round(quality["val_bits_per_byte"], 4),
        "minutes": round(cost["total_seconds"] / 60, 2),
        "peak_mb": cost["peak_memory_mb"],
        "parameters": quality["parameters"],
        "epochs": quality["epochs"],
    }


def _swept(folder: Path) -> Result:
    """Return the result of the best experiment of the sweep, and the number of experiments."""
    command = ["git", "for-each-ref", "--format=%(objectname)", "refs/exps/??/*/*"]
    commits = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    files = (Artifacts().train_metrics, Artifacts().train_speed)
    results = [_result(*(_committed(folder, commit, path) for path in files)) for commit in commits]
    best = min(results, key=lambda result: float(result["val_loss"]))
    return {**best, "experiments": len(results)}


def _committed(folder: Path, commit: str, path: Path) -> Any:
    command = ["git", "show", f"{commit}:{path.as_posix()}"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


def _row(name: str, result: Result) -> str:
    return (
        f"| {name} | {result['corpus']} | {result['val_loss']:.3f} | {result['bits_per_byte']:.3f} "
        f"| {format(result['bits_per_byte_balanced'], '.3f') if 'bits_per_byte_balanced' in result else ''} "
        f"| {result['minutes']:.1f} | {result['peak_mb']:.0f} | {result['parameters']:,} |"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
