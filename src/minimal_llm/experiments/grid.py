"""Files of parameters on top of params.yaml: recipes, with one value for each, and grids, with several.

A grid is expanded into the combinations of its values, and all of them are checked before any runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.config import PARAMS, Config, flat, flatten, load_config, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.unfinished_runs import SHAPES_NO_RESULT
from minimal_llm.experiments.compare import short_names
from minimal_llm.pipeline.inputs import recorded_hashes

MAX_COMBINATIONS = 1000
MAX_VALUE_LENGTH = 24  # characters of a value in a name


@dataclass(frozen=True)
class Combination:
    """One experiment of a sweep: a value for every parameter that the grid or the command line sets."""

    name: str
    identity: str
    config: Config
    keys: tuple[str, ...]  # the parameters that are set


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the parameters of a recipe or a grid by their dotted names; nested sections are accepted too.

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


def read_grid(path: Path, overrides: Mapping[str, Any], seeds: int = 1) -> list[Combination]:
    """Return all combinations of the values in a grid file, with `overrides` ({"train.epochs": 1}) applied to each.

    With several `seeds`, each is there with so many, the one of params.yaml and those that follow it. Combinations that
    result in equal parameters count once.

    Raises:
        ConfigurationError: the file cannot be read, or a value is invalid. The message lists every problem with its
            key, value and what is allowed.
        CorpusError: a text file is missing.
    """
    grid = {key: value if isinstance(value, list) else [value] for key, value in read_recipe(path).items()}
    grid |= {key: [value] for key, value in overrides.items()}
    if seeds > 1:
        grid["seed"] = _seeds(path, grid, seeds)
    _check_size(path, grid)
    varied = tuple(key for key, choices in grid.items() if len(choices) > 1)
    by_threads = any(threads != "auto" for threads in grid.get("train.threads", []))
    found: dict[str, Combination] = {}
    for config in _parse(path, [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]):
        key = identity(config, recorded_hashes(config), by_threads)
        keys = tuple(dict.fromkeys([*grid, *_absolute_paths(config)]))
        found.setdefault(key, Combination(_name(config, varied, key), key, config, keys))
    return list(found.values())


def _seeds(path: Path, grid: Mapping[str, Sequence[Any]], count: int) -> list[int]:
    if "seed" in grid:
        told = f"{path} lists seeds itself ({grid['seed']}), and SEEDS={count} would replace them"
        raise ConfigurationError(told, remedy=f"leave one of the two out: seed in {path}, or SEEDS")
    first = load_config().seed
    return [first + number for number in range(count)]


def identity(config: Config, inputs: Mapping[str, str], by_threads: bool) -> str:
    """Return a text that is equal for configurations that describe the same experiment.

    `inputs` stands for the contents of the files that they name, as in `recorded_hashes`. The number of threads counts
    only if `by_threads`: a sweep over anything else derives it from its number of jobs.
    """
    ignored = SHAPES_NO_RESULT if by_threads else SHAPES_NO_RESULT | {"train.threads"}
    parameters = {key: value for key, value in flatten(config).items() if key not in ignored}
    return json.dumps({**parameters, **inputs}, sort_keys=True)


def _check_size(path: Path, grid: Mapping[str, Sequence[Any]]) -> None:
    if not grid:
        remedy = f"list values to try in {path}, such as: `train.dropout: [0.1, 0.3]`"
        raise ConfigurationError(f"{path} sets no parameters", remedy=remedy)
    if empty := "".join(f"\n  - {key} = []: the list is empty" for key, choices in grid.items() if not choices):
        raise ConfigurationError(f"{path} is invalid:{empty}", remedy=f"list at least one value each in {path}")
    count = math.prod(len(choices) for choices in grid.values())
    if count > MAX_COMBINATIONS:
        told = f"{path} has {count:,} combinations; a sweep runs at most {MAX_COMBINATIONS:,}"
        raise ConfigurationError(told, remedy=f"list fewer values in {path}")


def _parse(path: Path, combinations: Sequence[Mapping[str, Any]]) -> list[Config]:
    params = read_params()
    parse_config(params, {})  # so that an error in params.yaml is not reported as one in the grid
    configs, problems = [], []
    for overrides in combinations:
        try:
            config = parse_config(params, overrides, origin=str(path))
            if absolute := _absolute_paths(config):
                config = parse_config(params, {**overrides, **absolute})
            configs.append(config)
        except ConfigurationError as error:
            problems += error.message.splitlines()[1:] or [f"  - {error.message}"]
    if problems:
        listed = "\n".join(dict.fromkeys(problems))
        raise ConfigurationError(f"{path} is invalid:\n{listed}", remedy=f"correct the values in {path}")
    return configs


def _absolute_paths(config: Config) -> dict[str, Any]:
    """Return the parameters that name files, with absolute paths: untracked files are not in the clone of a job."""
    absolute: dict[str, Any] = {}
    if config.train.init_from:
        absolute["train.init_from"] = str(Path(config.train.init_from).absolute())
    if config.download.source == "files":
        absolute["download.files"] = [str(Path(name).expanduser().absolute()) for name in config.download.files]
    return absolute


def _name(config: Config, varied: Sequence[str], key: str) -> str:
    """Return a readable name, made unique for these parameters by six hexadecimal digits."""
    values = flatten(config)
    words = []
    for name, short in short_names(varied).items():
        value = values[name]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        word = re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("._")[-MAX_VALUE_LENGTH:]
        words.append(f"{short}-{word or 'none'}")
    return "-".join([*(words or ["sweep"]), hashlib.sha256(key.encode()).hexdigest()[:6]])
