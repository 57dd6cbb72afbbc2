"""Parameters given on a command line, as overrides of params.yaml and as words of DVC."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minimal_llm.common.config import Config, flatten
from minimal_llm.corpus.text_files import digest

# Variables of `make train` and the parameters that they set
VARIABLES = {
    "EPOCHS": "train.epochs",
    "BATCH_SIZE": "train.batch_size",
    "LEARNING_RATE": "train.learning_rate",
    "MAX_SEQ_LENGTH": "train.max_seq_length",
    "VOCAB_SIZE": "tokenizer.vocab_size",
}


def overrides_from(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that variables such as EPOCHS=5 set, by their dotted names.

    Raises:
        CorpusError: CORPUS names a file that cannot be used.
    """
    overrides: dict[str, Any] = {
        key: environment[variable] for variable, key in VARIABLES.items() if environment.get(variable)
    }
    if corpus := environment.get("CORPUS"):
        files = [corpus] if Path(corpus).exists() else shlex.split(corpus)
        overrides |= {"download.source": "files", "download.files": files, "download.files_digest": digest(files)}
    return overrides


def dvc_command(config: Config, overrides: Mapping[str, Any], experiment: str = "") -> list[str]:
    """Return `dvc repro`, or `dvc exp run` with the checked values of the overrides."""
    if not overrides and not experiment:
        return ["dvc", "repro"]
    name = ["-n", experiment] if experiment else []
    return ["dvc", "exp", "run", *name, *settings(config, overrides)]


def settings(config: Config, keys: Iterable[str]) -> list[str]:
    """Return the values of these parameters as words of `dvc exp run`: -S train.epochs=5."""
    flat = flatten(config)
    return [word for key in keys for word in ("-S", f"{key}={_hydra(flat[key])}")]


def _hydra(value: Any) -> str:
    """Return a value as an override of `dvc exp run -S` spells it (Hydra's grammar: quotes protect all but quotes)."""
    if isinstance(value, list):
        return "[" + ",".join(_hydra(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
