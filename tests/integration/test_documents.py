"""Every document does what it says: its blocks run and print what is shown, its numbers and its links are right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from scripts.documents import LIMIT_SECONDS, QUICK, check, clone, make_quick, needs_quick
from scripts.figures import documents

from tests.support.session import SharedFolders
from tests.support.stages import ROOT, clean_environment

DOCUMENTS = [str(path.relative_to(ROOT)) for path in documents(ROOT)]
GUIDE = "docs/TRAINING_GUIDE.md"
LONGEST = {GUIDE, "docs/EXPERIMENTS.md"}
WIDEST_DIAGRAM = 80


@pytest.fixture(scope="session")
def quick(shared_folders: SharedFolders) -> Path:
    """The results of `make quick`, made once for all documents. Do not write into it."""
    return shared_folders.get("quick", make_quick) / QUICK


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.longest) if name in LONGEST else name for name in DOCUMENTS]
)
def test_its_blocks_run_and_print_what_is_shown(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    finished = request.getfixturevalue("quick") if needs_quick(ROOT / name) else None
    folder = clone(tmp_path / "minimal-llm", finished)
    faults = check(ROOT / name, folder, LIMIT_SECONDS, write=False)
    assert not faults, "\n".join(f"{name}:{fault.line}: {fault.text}" for fault in faults)


def test_the_figures_are_those_of_the_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "figures.py")],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nto replace them: python scripts/figures.py --write"


@cache
def tokens_of(path: Path) -> list[Token]:
    """All tokens of a document, those inside of paragraphs and headings included."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to the headings of a document, and those that it gives itself."""
    names: set[str] = set()
    for token, following in pairwise(tokens_of(path)):
        if token.type == "heading_open":
            children = following.children or []
            text = "".join(child.content for child in children if child.type in ("text", "code_inline"))
            name = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            names.add(next(n for n in (name, *(f"{name}-{i}" for i in range(1, 99))) if n not in names))
        if token.type in ("html_inline", "html_block"):
            names |= set(re.findall(r'\b(?:id|name)="([^"]+)"', token.content))
    return names


def links(path: Path) -> Iterator[str]:
    for token in tokens_of(path):
        if token.type in ("html_inline", "html_block"):
            yield from re.findall(r'\b(?:href|src)="([^"]+)"', token.content)
        yield from (str(value) for key, value in token.attrs.items() if key in ("href", "src"))


@cache
def listed() -> set[Path]:
    """The files that a clone has, and their folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {ROOT / name for name in names if name and (ROOT / name).is_file()}
    return files | {folder for file in files for folder in file.parents}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_links_lead_somewhere(name: str) -> None:
    broken = []
    for link in links(ROOT / name):
        target, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        if path not in listed() or (anchor and (path.suffix != ".md" or anchor not in anchors(path))):
            broken.append(link)
    assert not broken


def test_the_diagrams_of_the_guide_fit_a_narrow_window() -> None:
    paths = [ROOT / name for name in DOCUMENTS if name == GUIDE]
    fences = [token for path in paths for token in tokens_of(path) if token.type == "fence" and token.map]
    diagrams = [token for token in fences if token.info.strip() == "text"]
    wide = [line for token in diagrams for line in token.content.splitlines() if len(line) > WIDEST_DIAGRAM]
    assert not wide
