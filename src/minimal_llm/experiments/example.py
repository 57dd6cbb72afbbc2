"""`make example NAME=low-memory`: run a recipe of examples/, or list the recipes.

python -m minimal_llm.examples     # NAME, and EPOCHS=1 and the other variables of `make train`, from the environment
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minimal_llm.common.config import PARAMS, Config, flat, flatten, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.corpus.text_files import digest
from minimal_llm.experiments.recipes import committed_parameters, read_recipe, title
from minimal_llm.experiments.sweep import GRID, run_sweep
from minimal_llm.pipeline.overrides import VARIABLES, overrides_from
from minimal_llm.pipeline.repro import run_pipeline

FOLDER = Path("examples")


def main() -> int:
    """Run the example that the environment names, or list all; return the exit code."""
    name = os.environ.get("NAME", "")
    try:
        if name:
            return run_example(name, os.environ)
        print("Recipes in examples/. Run one with: make example NAME=quick-test\n")
        print(_listed(examples()))
        return 0
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def examples() -> dict[str, Path]:
    """Return the files of all examples by name, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.iterdir()) if path.suffix in (".yaml", ".sh")}


def run_example(name: str, environment: Mapping[str, str]) -> int:
    """Run an example and return its exit code.

    A recipe starts from params.yaml as the last commit has it, so that what was run before makes no difference.

    Raises:
        MinimalLlmError: there is no such example, a parameter of it cannot be used, or a prerequisite is missing.
    """
    path = examples().get(name)
    if path is None:
        raise ConfigurationError(
            f"there is no example '{name}' in {FOLDER}/. These are there:\n{_listed(examples())}",
            remedy=f"make example NAME={next(iter(examples()))}",
        )
    if path == GRID:
        return run_sweep(path, int(environment.get("JOBS") or 1), overrides_from(environment))
    if path.suffix == ".sh":
        return _run_script(path, environment)
    print(f"{name}: {title(path)}", flush=True)
    given = overrides_from(environment)
    recipe = read_recipe(path) | given
    if recipe.get("download.source") == "files" and not given.get("download.files"):
        recipe["download.files_digest"] = digest(recipe.get("download.files", []))
    config = parse_config(committed_parameters(), recipe, origin=str(path))
    return run_pipeline(_changes(recipe, config), environment, experiment_name(name, environment, config))


def experiment_name(name: str, environment: Mapping[str, str], config: Config) -> str:
    """Return what to call the experiment: the example's name, with the variables that change it, if any."""
    values = flatten(config)
    changes = [f"{variable.lower()}-{values[key]}" for variable, key in VARIABLES.items() if environment.get(variable)]
    if environment.get("CORPUS"):
        changes.append(f"corpus-{config.download.files_digest[:6]}")
    return "-".join([name, *changes]).replace("_", "-")


def _run_script(path: Path, environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(["bash", "-euo", "pipefail", str(path)], env=dict(environment))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the script as well
    code = process.wait()
    return 128 - code if code < 0 else code


def _changes(recipe: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return what the recipe sets, and what else params.yaml has otherwise than the last commit, told to the user."""
    wanted = flatten(config)
    present = flat(read_params())
    changes = {key: wanted[key] for key in recipe}
    for key in sorted(wanted.keys() - recipe.keys()):
        if key in present and present[key] != wanted[key]:
            changes[key] = wanted[key]
            print(f"{PARAMS}: {key} goes back from {present[key]} to {wanted[key]}, as committed", flush=True)
    return changes


def _listed(paths: Mapping[str, Path]) -> str:
    return "\n".join(f"  {name:15} {title(path)}" for name, path in paths.items())


if __name__ == "__main__":
    sys.exit(main())
