"""Parameters given on a command line, as overrides of params.yaml and as arguments of DVC."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minimal_llm.common.config import Config, flatten
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.corpus.text_files import expand

MAX_ARGUMENT_BYTES = 64_000  # Linux allows 128 KiB for an argument, in which _hydra may double characters
# Options of `minimal-llm train`, and the parameters that they set
OPTIONS = {
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "processes": "train.processes",
    "learning_rate": "train.learning_rate",
    "max_seq_length": "train.max_seq_length",
    "vocab_size": "tokenizer.vocab_size",
}


def overrides_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that options such as {"epochs": "5"} set, by their dotted names.

    Keys are those of OPTIONS and "corpus_path", a list of paths; a value of None means that the option was not given.

    Raises:
        ConfigurationError: a corpus path has an unmatched quote.
        CorpusError: a corpus path names a file that cannot be used.
    """
    overrides = {key: options[name] for name, key in OPTIONS.items() if options.get(name) is not None}
    if options.get("corpus_path") is not None:
        overrides |= corpus_overrides(options["corpus_path"])
    return overrides


def corpus_overrides(paths: Sequence[str]) -> dict[str, Any]:
    """Return the parameters that train on these files. Raises as `overrides_from`."""
    patterns = [pattern for path in paths for pattern in _split(path)]
    files = list(map(str, expand(patterns)))  # so that a file that newly matches a pattern is a changed parameter
    too_long = sum(map(len, map(os.fsencode, files))) > MAX_ARGUMENT_BYTES
    return {"download.source": "files", "download.files": patterns if too_long else files}


def _split(path: str) -> list[str]:
    """Return an existing path as it is, and any other as the paths or patterns that a shell would read from it."""
    if os.path.exists(path):  # noqa: PTH110  # Path.exists raises for a name that is too long
        return [path]
    try:
        return shlex.split(path)
    except ValueError as error:
        raise ConfigurationError(
            f"the corpus path {path} cannot be read: {error}",
            remedy="quote each path that has spaces or quotes: CORPUS=\"'/path/to/my text.txt' /path/to/other.txt\"",
        ) from error


def dvc_command(config: Config, keys: Collection[str], experiment: str = "") -> list[str]:
    """Return `dvc repro`, or `dvc exp run` with the values that the configuration has for these parameters."""
    if not keys and not experiment:
        return ["dvc", "repro"]
    name = ["-n", experiment] if experiment else []
    values = flatten(config)
    return ["dvc", "exp", "run", *name, *(word for key in keys for word in ("-S", f"{key}={_hydra(values[key])}"))]


def _hydra(value: Any) -> str:
    """Return a value as `dvc exp run -S` expects it (Hydra's grammar: in quotes, only quotes need escaping)."""
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
