"""Reads the primer's YAML files. Every fault names the file, the entry and what is wrong."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from minimal_llm.common.errors import CorpusError

# The C loader reads the frames ten times faster; both give the same.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader for which `on`, `no` and dates are words, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: the key {key!r} is there twice")
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
    """An entry of a data file: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PrimerDataError(CorpusError):
    """An entry of the lexicon or a frame that cannot work."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"{where}: {problem}",
            remedy="correct the entry (docs/PRIMER.md), then: python scripts/preview_frames.py --check",
        )
        self.where = where
        self.problem = problem


def folder() -> Traversable:
    """Return the folder of the word lists."""
    return resources.files("minimal_llm.corpus.primer.grammar") / "words"


def read_yaml(source: Traversable, name: str) -> Any:
    """Return the content of one YAML file.

    Raises:
        PrimerDataError: it is not UTF-8 or not YAML.
    """
    try:
        return yaml.load(source.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PrimerDataError(name, f"is not YAML: {error}") from error


def problems_of(error: ValidationError) -> str:
    """Return what pydantic found wrong, in one line."""
    found = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        found.append(f"{place}: {fault['msg']}" if place else str(fault["msg"]))
    return "; ".join(found)
