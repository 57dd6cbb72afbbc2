"""`make example`: run one of the recipes or scripts in examples/, or list them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from minimal_llm.common.config import PARAMS, Config, flat, flatten, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import sha256_of
from minimal_llm.common.inputs import record_of
from minimal_llm.experiments.grid import read_recipe
from minimal_llm.experiments.sweep import GRID, run_sweep
from minimal_llm.pipeline.commands import git, run_stages
from minimal_llm.pipeline.inputs import own_files
from minimal_llm.pipeline.repro import run_pipeline


def examples() -> dict[str, Path]:
    """Return the files of all examples by name, in alphabetical order."""
    return {path.stem: path for path in sorted(Path("examples").iterdir()) if path.suffix in (".yaml", ".sh")}


def list_examples() -> str:
    """Return a line for each example: its name, and what it is for."""
    return "\n".join(f"  {name:15} {_title(path)}" for name, path in examples().items())


def run_example(name: str, overrides: Mapping[str, Any], resume: bool | None, jobs: int = 1) -> int:
    """Run an example with these parameters on top of its own; return its exit code.

    A recipe starts from params.yaml as last committed. `resume` is that of `run_pipeline`, `jobs` that of `run_sweep`.

    Raises:
        MinimalLlmError: there is no such example, a parameter has an invalid value, or a prerequisite is missing.
    """
    path = examples().get(name)
    if path is None:
        raise ConfigurationError(
            f"there is no example {name}; the examples are:\n{list_examples()}", remedy="make example NAME=balanced"
        )
    if path == GRID:
        return run_sweep(GRID, jobs, overrides)
    if path.suffix == ".sh":
        variables = {key.rpartition(".")[2].upper(): str(value) for key, value in overrides.items()}
        return run_stages(["bash", "-euo", "pipefail", str(path)], os.environ | variables)
    print(f"{name}: {_title(path)}", flush=True)
    recipe = read_recipe(path) | dict(overrides)
    committed = yaml.safe_load(git("show", f"HEAD:./{PARAMS}")) or read_params()  # a missing commit is reported later
    config = parse_config(committed, recipe, origin=str(path))
    changes = _changes(recipe, config)
    return run_pipeline(changes, resume, _experiment_name(name, overrides, config))


def _experiment_name(name: str, overrides: Mapping[str, Any], config: Config) -> str:
    """Return the name of the example, followed by the parameters that were overridden."""
    values = flatten(config)
    parts = [f"{key.rpartition('.')[2]}-{values[key]}" for key in overrides if not key.startswith("download.")]
    if "download.files" in overrides:
        parts.append(f"corpus-{sha256_of(record_of(own_files(config)).encode())[:6]}")
    return "-".join([name, *parts]).replace("_", "-")


def _changes(recipe: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return the parameters of the recipe and those to reset to their committed values, which it prints."""
    wanted, present = flatten(config), flat(read_params())
    reset = [key for key in sorted(wanted.keys() - recipe.keys()) if present.get(key, wanted[key]) != wanted[key]]
    for key in reset:
        print(f"{PARAMS}: {key} is reset from {present[key]} to the committed {wanted[key]}", flush=True)
    return {key: wanted[key] for key in [*recipe, *reset]}


def _title(path: Path) -> str:
    """Return what an example is for: its first comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")
