"""Reads the primer's YAML files. Errors name the file, the entry and the problem."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from minimal_llm.common.errors import CorpusError

# The C loader gives the same result ten times faster.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that reads `on`, `no` and dates as strings and rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: duplicate key {key!r}")
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


_WORDS_ONLY = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in _WORDS_ONLY and (tag != "tag:yaml.org,2002:bool" or first in "tTfF")
    ]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


class Entry(BaseModel):
    """An entry of a data file: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PrimerDataError(CorpusError):
    """An invalid frame or entry of the lexicon."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"{where}: {problem}",
            remedy="correct the entry (see docs/PRIMER.md), then run: python scripts/preview_frames.py --check",
        )
        self.where = where
        self.problem = problem


def folder() -> Traversable:
    """Return the directory of the word lists."""
    return resources.files("minimal_llm.corpus.primer.grammar") / "words"


def read_yaml(source: Traversable, name: str) -> Any:
    """Return the content of a YAML file.

    Raises:
        PrimerDataError: the file is not UTF-8 or not YAML.
    """
    try:
        return yaml.load(source.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PrimerDataError(name, f"is not valid YAML: {error}") from error


def problems_of(error: ValidationError) -> str:
    """Return all problems found by pydantic, in one line."""
    found = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        found.append(f"{place}: {fault['msg']}" if place else str(fault["msg"]))
    return "; ".join(found)
