"""Delete what the pipeline made, after asking about everything that took time to make."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.files import readable_size, size_of
from minimal_llm.pipeline.busy import sole_run
from minimal_llm.pipeline.commands import git

CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache")


def clean() -> int:
    """Delete the caches of development tools at once and ask about the rest, group by group; return 0.

    Raises:
        ConfigurationError: a run is in progress.
    """
    with sole_run(Artifacts()):
        delete(map(Path, CACHES))
        _ask_group_by_group()
    return 0


def _ask_group_by_group() -> None:
    tracked = git("ls-files", "-z").split("\0")
    for name, paths in deletable(Artifacts(tokenizer_name=load_config().tokenizer.name)).items():
        found = [path for path in paths if path.exists() and str(path) not in tracked]
        if not found:
            continue
        if not sys.stdin.isatty():
            print(f"kept, because there is no terminal to ask on: {name}")
            continue
        print(f"Delete {name}, {readable_size(sum(map(size_of, found)))}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            delete(found)


def deletable(artifacts: Artifacts) -> dict[str, list[Path]]:
    """Return what can be deleted, grouped by what it takes to make it again. Committed metrics are not included."""
    return {
        "corpus, tokenizer and token files (seconds to make again)": [
            artifacts.files_record,
            artifacts.model_record,
            artifacts.corpus,
            artifacts.corpus_manifest,
            artifacts.tokenizer_model,
            artifacts.tokenizer_vocab,
            artifacts.tokens,
        ],
        "trained models (minutes to hours)": [artifacts.best_model, artifacts.final_model, artifacts.training_metrics],
        "checkpoints of unfinished runs": [artifacts.checkpoints],
        "downloaded books (a download)": [artifacts.raw_books],
        "runs made by hand": [Path("runs")],
        "DVC's cache: the results of all experiments": [Path(".dvc/cache")],
    }


def delete(paths: Iterable[Path]) -> None:
    """Delete those of some files and folders that exist."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
