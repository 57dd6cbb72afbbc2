"""The import contracts of pyproject.toml: they cover every package, hold, and notice what breaks them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.stages import ROOT, clean_environment

PACKAGE = ROOT / "src" / "minimal_llm"
CONFIGURATION = ROOT / "pyproject.toml"


def contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    found: dict[str, Any] = next(contract for contract in contracts if contract["id"] == name)
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's Python files, to add imports to."""
    folder = tmp_path_factory.mktemp("imports")
    for file in PACKAGE.rglob("*.py"):
        copy = folder / "src" / file.relative_to(ROOT / "src")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (folder / CONFIGURATION.name).write_bytes(CONFIGURATION.read_bytes())
    return folder


def lint(folder: Path) -> tuple[int, str]:
    """Return the exit code and the output of lint-imports on a copy of the package."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_every_package_has_a_layer() -> None:
    layers = {name.strip() for layer in contract("layers")["layers"] for name in layer.split("|")}
    assert layers == {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert contract("layers")["exhaustive"]


def test_the_imports_keep_to_the_contracts(sources: Path) -> None:
    code, printed = lint(sources)
    assert code == 0, printed


@pytest.mark.parametrize(
    ("module", "wrong", "told"),
    [
        ("common/errors.py", "corpus.languages", "minimal_llm.common is not allowed to import minimal_llm.corpus"),
        ("training/schedule.py", "export.folder", "minimal_llm.training is not allowed to import minimal_llm.export"),
        ("corpus/languages.py", "corpus.manifest", "No cycles are allowed in minimal_llm.corpus"),
    ],
    ids=["upwards", "between independent packages", "a cycle within a package"],
)
def test_a_wrong_import_is_noticed(sources: Path, module: str, wrong: str, told: str) -> None:
    file = sources / "src" / "minimal_llm" / module
    before = file.read_text(encoding="utf-8")
    file.write_text(f"{before}\nimport minimal_llm.{wrong}\n", encoding="utf-8")
    try:
        code, printed = lint(sources)
    finally:
        file.write_text(before, encoding="utf-8")
    assert code != 0
    assert told in printed
