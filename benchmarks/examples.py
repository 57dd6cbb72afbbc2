"""Cost and result of each example: runs the recipes of examples/ at full length, each in a clone of its own.

    python benchmarks/examples.py                # show the results
    python benchmarks/examples.py low-memory     # run one (or several)
    python benchmarks/examples.py --all          # run those without a result, half an hour on an idle machine

Runs the last commit. Books are taken from data/raw, where `make train` saves them, or downloaded. The results of
`balanced` are those in data/metrics. Results are saved in docs/reference/examples.json and shown in examples/README.md.
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

from results import CommandFailed, Result, Results, exit_code, parse_runs

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.files import read_json
from minimal_llm.experiments.example import examples

SCRATCH = Path("runs/examples")
REFERENCE = "balanced"
COLUMNS = """\
| example | corpus | val loss | bits per byte | minutes | peak MB | parameters |
| --- | --- | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    """Run the command line."""
    results = Results(Path("docs/reference/examples.json"), tuple(examples()), COLUMNS, _row)
    runs = parse_runs(__doc__, results)
    results.update(runs, measure)
    results.show()


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
        command = ["make", "example", f"NAME={name}"] + (["JOBS=2"] if name == "sweep" else [])
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
    (folder / ".venv").symlink_to(Path(".venv").resolve())
    if Artifacts().raw_books.is_dir():
        shutil.copytree(Artifacts().raw_books, folder / Artifacts().raw_books)
    return folder


def _trained(made: Artifacts) -> Result:
    return _result(read_json(made.train_metrics), read_json(made.train_speed))


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
        f"| {result['minutes']:.1f} | {result['peak_mb']:.0f} | {result['parameters']:,} |"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
