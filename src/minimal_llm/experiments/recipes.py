"""Recipes: small YAML files of parameters, such as examples/low-memory.yaml, on top of params.yaml."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from minimal_llm.common.config import PARAMS, flat, read_params
from minimal_llm.common.errors import ConfigurationError


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the parameters of a recipe by their dotted names; sections and dotted names may be mixed.

    Raises:
        ConfigurationError: the file is missing, is not YAML or does not hold parameters.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {path}", remedy="make example lists the recipes") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", remedy=_how_to_write(path)) from error
    if content is None:  # nothing but comments: the defaults
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no parameters with their values", remedy=_how_to_write(path))
    return flat(content)


def title(path: Path) -> str:
    """Return what a recipe is for: its first comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def committed_parameters() -> Any:
    """Return params.yaml as the last commit has it; as it stands where there is no commit, which `make check` tells."""
    done = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True, check=False)
    return yaml.safe_load(done.stdout) if done.returncode == 0 else read_params()


def _how_to_write(path: Path) -> str:
    return f"write it as lines such as `train.batch_size: 8`, with names from {PARAMS}; or: git checkout {path}"
