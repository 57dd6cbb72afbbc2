"""The inputs that DVC records for a stage. It reads them when the stage has ended, so none may change meanwhile."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pathspec
import yaml

from minimal_llm.common.config import PARAMS, flat, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import sha256_of_file

PIPELINE, IGNORED = Path("dvc.yaml"), Path(".dvcignore")


def inputs_for_dvc(stage: str) -> dict[str, Any]:
    """Return what dvc.yaml names for a stage: values of parameters and SHA-256 of files. Empty if DVC did not start it.

    Raises:
        ConfigurationError: params.yaml or dvc.yaml cannot be read.
    """
    if os.environ.get("DVC_STAGE") != stage:
        return {}
    parameters = flat(read_params())
    try:
        entry = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]
        keys = tuple(entry["params"])
        names = [re.sub(r"\$\{(.*?)\}", lambda found: str(parameters[found[1]]), name) for name in entry["deps"]]
        ignored = pathspec.GitIgnoreSpec.from_lines(IGNORED.read_text(encoding="utf-8").splitlines())
    except (OSError, LookupError, TypeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{PIPELINE} or {IGNORED} cannot be read: {error!r}", remedy=f"git checkout {PIPELINE} {IGNORED}"
        ) from error
    values = {f"{PARAMS}: {key}": parameters[key] for key in parameters if key in keys}
    return values | {str(file): sha256_of_file(file) for name in names for file in _files(Path(name), ignored)}


def require_unchanged(stage: str, before: dict[str, Any]) -> None:
    """Raise ConfigurationError if the inputs of a stage are no longer those that it started with."""
    now = inputs_for_dvc(stage)
    if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
        raise ConfigurationError(
            f"changed while {stage} was running: {', '.join(changed)}. Its result is not recorded, because DVC would "
            "record it as made from what is there now",
            remedy=f"undo the change (git diff {PARAMS} src), or keep it, then: make train",
        )


def _files(path: Path, ignored: pathspec.GitIgnoreSpec) -> Iterator[Path]:
    if path.is_dir():
        yield from (path / name for name in ignored.match_tree_files(path, negate=True))
    elif path.exists():
        yield path
