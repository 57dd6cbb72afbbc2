"""What each example takes and gives: the recipes of examples/ at full length, each in a clone of its own.

    python benchmarks/examples.py                # the table, and what is not measured
    python benchmarks/examples.py low-memory     # run one (or several)
    python benchmarks/examples.py --all          # run all that are not measured yet, half an hour on a quiet machine

Runs what is committed. Books come from data/raw, where `make train` puts them, else from a mirror. `balanced` is the
run behind data/metrics and is taken from there. Results are kept in docs/reference/examples.json, which
examples/README.md shows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import EXIT_INTERRUPTED
from minimal_llm.common.files import read_json, write_json
from minimal_llm.experiments.example import examples

RESULTS = Path("docs/reference/examples.json")
SCRATCH = Path("runs/examples")
REFERENCE = "balanced"


class ExampleFailed(Exception):
    """`make example` ended with this exit code; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> int:
    """Run the command line; return the exit code."""
    names = list(examples())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="names from the list")
    parser.add_argument("--all", action="store_true", help="run what is not measured yet")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no example {unknown[0]}: python benchmarks/examples.py lists them")
    try:
        for name in options.names or [name for name in names if options.all and name not in _read(options.results)]:
            print(name, flush=True)
            result = measure(name)
            write_json(options.results, {**_read(options.results), name: result})
            print(_row(name, result), flush=True)
    except ExampleFailed as failure:
        return failure.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    _show(names, _read(options.results))
    return 0


def measure(name: str) -> dict[str, Any]:
    """Return what an example ends with: losses, corpus, parameters, minutes, and peak memory in MB of 10^6 bytes.

    `minutes` are those of training; of the whole command for `resume` and `sweep`, which train several times.

    Raises:
        ExampleFailed: it did not end well.
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
            raise ExampleFailed(code)
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


def _trained(made: Artifacts) -> dict[str, Any]:
    return _figures(read_json(made.train_metrics), read_json(made.train_speed))


def _figures(quality: dict[str, Any], cost: dict[str, Any]) -> dict[str, Any]:
    return {
        "corpus": quality["corpus"],
        "val_loss": round(quality["val_loss"], 4),
        "bits_per_byte": round(quality["val_bits_per_byte"], 4),
        "minutes": round(cost["total_seconds"] / 60, 2),
        "peak_mb": cost["peak_memory_mb"],
        "parameters": quality["parameters"],
        "epochs": quality["epochs"],
    }


def _swept(folder: Path) -> dict[str, Any]:
    """Return the results of the best experiment of the sweep, and how many there were."""
    command = ["git", "for-each-ref", "--format=%(objectname)", "refs/exps/??/*/*"]
    commits = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    files = (Artifacts().train_metrics, Artifacts().train_speed)
    results = [_figures(*(_committed(folder, commit, path) for path in files)) for commit in commits]
    best = min(results, key=lambda result: float(result["val_loss"]))
    return {**best, "experiments": len(results)}


def _committed(folder: Path, commit: str, path: Path) -> Any:
    command = ["git", "show", f"{commit}:{path.as_posix()}"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


def _read(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.exists() else {}


def _row(name: str, result: dict[str, Any]) -> str:
    return (
        f"| {name} | {result['corpus']} | {result['val_loss']:.3f} | {result['bits_per_byte']:.3f} "
        f"| {result['minutes']:.1f} | {result['peak_mb']:.0f} | {result['parameters']:,} |"
    )


def _show(names: list[str], results: dict[str, Any]) -> None:
    print("| example | corpus | val loss | bits a byte | minutes | peak MB | parameters |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        if name in results:
            print(_row(name, results[name]))
    missing = [name for name in names if name not in results]
    print(f"not measured: {', '.join(missing) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
