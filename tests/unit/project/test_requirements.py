"""The requirement files pin every package that an installation brings, on each platform that the project supports."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from itertools import chain

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.stages import ROOT

FILES = ("requirements.txt", "requirements-dev.txt", "requirements-export.txt", "requirements-docs.txt")
needs_docs = pytest.mark.skipif(not find_spec("zensical"), reason="requirements-docs.txt is not installed: make docs")
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+")


def lines(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def pinned(*names: str) -> list[str]:
    return [canonicalize_name(line.partition("==")[0]) for name in names for line in lines(name)]


@cache
def requirements_of(name: str) -> list[Requirement]:
    return [Requirement(text) for text in importlib.metadata.requires(name) or []]


def required(names: Iterable[str], environment: dict[str, str]) -> set[str]:
    """Return what these installed distributions require, directly or not, in an environment of markers."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str]()) for name in names]
    while waiting:
        name, extras = waiting.pop()
        for needed in requirements_of(name):
            marker = needed.marker
            if marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras)):
                entry = (canonicalize_name(needed.name), frozenset(needed.extras))
                if entry not in found:
                    found.add(entry)
                    waiting.append(entry)
    return {name for name, _ in found}


@pytest.mark.parametrize("name", FILES)
def test_each_line_is_one_exact_version_and_nothing_else(name: str) -> None:
    assert [line for line in lines(name) if not PIN.fullmatch(line)] == []


def test_no_package_is_pinned_twice() -> None:
    names = pinned(*FILES)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(FILES[:1], id="runtime"),
        pytest.param(FILES[:2], id="dev"),
        pytest.param((*FILES[:2], FILES[3]), id="docs", marks=needs_docs),
    ],
)
def test_what_the_pinned_packages_require_is_pinned_too(names: tuple[str, ...], version: str, system: str) -> None:
    python = {"python_version": version, "python_full_version": f"{version}.0"}
    environment = {
        **{name: str(value) for name, value in default_environment().items()},
        "sys_platform": system,
        "platform_system": system.title(),
        **python,
    }
    assert required(pinned(*names), environment) <= set(pinned(*names))


def test_the_dependencies_of_the_package_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    listed = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *chain.from_iterable(extras.values()),
    ]
    names = {canonicalize_name(Requirement(text).name) for text in listed} - {"minimal-llm"}
    assert names <= set(pinned("requirements.txt"))
