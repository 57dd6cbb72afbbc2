"""Which run this is: its id for people and files, and the fingerprint that names its checkpoints."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pathspec
import yaml

from minimal_llm.common.artifacts import DATA
from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import sha256_of_file
from minimal_llm.common.unfinished_runs import run_parameters
from minimal_llm.tokenizer.token_files import TokenFiles

CLONE = Path(__file__).resolve().parents[3]  # the repository whose code is running, also in a copy that DVC makes
_NAMESPACE = uuid.UUID("7b0a4f54-3c1e-5d0e-9a55-4d3f2b6c1a10")


def run_inputs(config: Config, tokens: TokenFiles) -> dict[str, Any]:
    """Return everything but the machine that shapes a run: parameters, initial weights, tokens, tokenizer, code.

    Raises:
        TrainingError: dvc.yaml does not say what the code is.
    """
    initial = config.train.init_from
    return {
        "parameters": run_parameters(config),
        "init_from_sha256": sha256_of_file(Path(initial)) if initial else "",
        "train_sha256": tokens.train_sha256,
        "val_sha256": tokens.val_sha256,
        "tokenizer_sha256": tokens.meta.tokenizer_sha256,
        "sources": training_sources(CLONE),
    }


def training_sources(clone: Path) -> dict[str, str]:
    """Return the SHA-256 of every code file that dvc.yaml lists for stage train, by its path in the clone.

    So a checkpoint is resumed exactly as long as DVC takes the code of the stage to be unchanged.

    Raises:
        TrainingError: there is no dvc.yaml, or it does not describe stage train.
    """
    pipeline = clone / "dvc.yaml"
    try:
        entries = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"]["train"]["deps"]
        ignored = (clone / ".dvcignore").read_text(encoding="utf-8").splitlines()
    except (OSError, LookupError, TypeError, yaml.YAMLError) as error:
        raise TrainingError(
            f"{pipeline} or .dvcignore beside it does not say which code shapes a model: {error!r}",
            remedy="git checkout dvc.yaml .dvcignore; train from a clone, installed with: pip install -e .",
            kind="configuration",
        ) from error
    ignore = pathspec.GitIgnoreSpec.from_lines(ignored)
    code = [clone / entry for entry in entries if DATA not in Path(entry).parents]
    return {file.relative_to(clone).as_posix(): sha256_of_file(file) for path in code for file in _files(path, ignore)}


def run_id(inputs: Mapping[str, Any]) -> str:
    """Return the name-based UUID of a run: equal inputs, equal id."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(inputs, sort_keys=True)))


def fingerprint(inputs: Mapping[str, Any], compute: Compute) -> str:
    """Return 32 hexadecimal digits that are equal exactly where resuming a checkpoint changes no bit of the result."""
    content = json.dumps({**inputs, "compute": asdict(compute)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _files(path: Path, ignore: pathspec.GitIgnoreSpec) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (path / name for name in sorted(ignore.match_tree_files(path, negate=True)))
