"""Delete what the pipeline made, after asking for whatever took time to make.

python -m minimal_llm.clean
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import MinimalLlmError


def costly(artifacts: Artifacts) -> dict[str, list[Path]]:
    """Return what there is to delete, by what it would take to make it again. Committed metrics are not among it."""
    groups = {
        "corpus, tokenizer and token files (seconds to make again)": [
            artifacts.parameters_checked,
            artifacts.corpus,
            artifacts.corpus_manifest,
            artifacts.tokenizer_model,
            artifacts.tokenizer_vocab,
            artifacts.tokens,
        ],
        "trained models (minutes to hours)": [artifacts.best_model, artifacts.final_model, artifacts.training_metrics],
        "checkpoints of unfinished runs": [artifacts.checkpoints],
        "downloaded books (a download)": [artifacts.raw_books],
        "runs by hand": [Path("runs")],
        "DVC's cache: the results of all experiments": [Path(".dvc/cache")],
    }
    there = {name: [path for path in paths if path.exists()] for name, paths in groups.items()}
    return {name: paths for name, paths in there.items() if paths}


def size_mb(paths: list[Path]) -> float:
    """Return the size of files and folders in MB."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def delete(paths: list[Path]) -> None:
    """Delete files and folders."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def main() -> int:
    """Delete caches at once and ask for the rest, group by group; return the exit code."""
    try:
        groups = costly(Artifacts(tokenizer_name=load_config().tokenizer.name))
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout.decode().split("\0")
    delete([path for path in map(Path, (".mypy_cache", ".ruff_cache", ".pytest_cache")) if path.exists()])
    for name, paths in groups.items():
        kept = [path for path in paths if str(path) not in tracked]
        if not sys.stdin.isatty():
            print(f"kept (not on a terminal, so nobody to ask): {name}")
            continue
        print(f"delete {name}, {size_mb(kept):,.0f} MB? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            delete(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
