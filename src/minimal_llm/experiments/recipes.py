"""Recipes: small YAML files of parameters on top of params.yaml, such as examples/low-memory.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from minimal_llm.common.config import PARAMS, flat, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.pipeline.commands import git


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the parameters of a recipe by their dotted names; nested sections are accepted too.

    Raises:
        ConfigurationError: the file is missing, is not YAML or does not hold parameters.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}", remedy="list the recipes with: make example")
    content = read_params(path) or {}  # a file with only comments stands for the defaults
    if not isinstance(content, dict):
        remedy = f"write lines such as `train.batch_size: 8`, with names from {PARAMS}; or: git checkout {path}"
        raise ConfigurationError(f"{path} does not map parameters to values", remedy=remedy)
    return flat(content)


def committed_parameters() -> Any:
    """Return params.yaml as last committed, or as it is now if there is no commit, which `make check` reports."""
    return yaml.safe_load(git("show", f"HEAD:./{PARAMS}")) or read_params()
