"""A grid of parameters as the combinations of its values, each checked before anything is queued."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minimal_llm.common.config import Config, flatten, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.unfinished_runs import SHAPES_NO_RESULT
from minimal_llm.corpus.text_files import digest
from minimal_llm.experiments.compare import short_names
from minimal_llm.experiments.recipes import read_recipe

MOST_COMBINATIONS = 1000
_LONGEST_VALUE = 24  # characters of a value in a name


@dataclass(frozen=True)
class Combination:
    """One experiment of a sweep: a value for every parameter that the grid or the command line sets."""

    name: str
    config: Config
    keys: tuple[str, ...]  # of the parameters that are set
    by_threads: bool  # whether the grid sets a number of threads, which then tells experiments apart

    @property
    def identity(self) -> str:
        """A text that is equal for configurations that ask for the same experiment."""
        return identity(self.config, self.by_threads)

    def with_threads(self, threads: int) -> Combination:
        """Return the combination with this number of threads, if it leaves the number open."""
        if self.config.train.threads != "auto":
            return self
        train = self.config.train.model_copy(update={"threads": threads})
        keys = tuple(dict.fromkeys([*self.keys, "train.threads"]))
        return replace(self, config=self.config.model_copy(update={"train": train}), keys=keys)


def read_grid(path: Path, given: Mapping[str, Any]) -> list[Combination]:
    """Return all combinations of the values in a grid file, `given` parameters ({"train.epochs": 1}) on top of it.

    Combinations that come to the same parameters count once.

    Raises:
        ConfigurationError: the file cannot be read, or a value cannot be used. All problems are in the one message,
            each with key, value and what is allowed.
    """
    grid = {key: value if isinstance(value, list) else [value] for key, value in read_recipe(path).items()}
    grid |= {key: [value] for key, value in given.items()}
    if empty := [key for key, choices in grid.items() if not choices]:
        listed = "".join(f"\n  - {key} = []: the list has no value" for key in empty)
        raise ConfigurationError(
            f"{path} cannot be used:{listed}", remedy=f"give {', '.join(empty)} at least one value in {path}"
        )
    if not grid:
        raise ConfigurationError(
            f"{path} names no parameter",
            remedy=f"give a parameter a list of values in {path}: `train.dropout: [0.1, 0.35]`",
        )
    count = math.prod(len(choices) for choices in grid.values())
    if count > MOST_COMBINATIONS:
        raise ConfigurationError(
            f"{path} has {count:,} combinations; {MOST_COMBINATIONS:,} are the most in one sweep",
            remedy=f"give fewer values in {path}",
        )
    configs = _check(path, [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())])
    varied = tuple(key for key, choices in grid.items() if len(choices) > 1)
    by_threads = any(threads != "auto" for threads in grid.get("train.threads", []))
    found: dict[str, Combination] = {}
    for config in configs:
        key = identity(config, by_threads)
        keys = tuple(dict.fromkeys([*grid, *_where_they_stand(config)]))
        found.setdefault(key, Combination(_name(config, varied, key), config, keys, by_threads))
    return list(found.values())


def identity(config: Config, by_threads: bool = False) -> str:
    """Return `Combination.identity` of any configuration.

    The number of threads counts only `by_threads`: else a sweep sets it by the number of its jobs.
    """
    ignored = SHAPES_NO_RESULT if by_threads else SHAPES_NO_RESULT | {"train.threads"}
    return json.dumps({key: value for key, value in flatten(config).items() if key not in ignored}, sort_keys=True)


def _check(path: Path, combinations: Sequence[Mapping[str, Any]]) -> list[Config]:
    params = read_params()
    parse_config(copy.deepcopy(params), {})  # what is wrong without the grid is told as such
    configs, problems = [], []
    for overrides in combinations:
        try:
            config = parse_config(copy.deepcopy(params), overrides, origin=str(path))
            if fixed := _where_they_stand(config):
                config = parse_config(copy.deepcopy(params), {**overrides, **fixed})
            configs.append(config)
        except ConfigurationError as error:
            problems += error.message.splitlines()[1:] or [f"  - {error.message}"]
    if problems:
        listed = "\n".join(dict.fromkeys(problems))
        raise ConfigurationError(f"{path} cannot be used:\n{listed}", remedy=f"correct the values in {path}")
    return configs


def _where_they_stand(config: Config) -> dict[str, Any]:
    """Return the parameters that name files, with absolute paths: experiments run in a copy that lacks untracked files.

    Raises:
        CorpusError: a text file cannot be read.
    """
    fixed: dict[str, Any] = {}
    if config.train.init_from:
        fixed["train.init_from"] = str(Path(config.train.init_from).absolute())
    if config.download.source == "files":
        files = [str(Path(name).expanduser().absolute()) for name in config.download.files]
        fixed |= {"download.files": files, "download.files_digest": digest(files)}
    return fixed


def _name(config: Config, varied: Sequence[str], key: str) -> str:
    """Return a name that can be read and, by its last six digits, stands for these parameters and no others."""
    values = flatten(config)
    words = [f"{short}-{_word(values[name])}" for name, short in short_names(varied).items()]
    return "-".join([*(words or ["sweep"]), hashlib.sha256(key.encode()).hexdigest()[:6]])


def _word(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("._")[-_LONGEST_VALUE:] or "none"
