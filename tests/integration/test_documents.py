"""Every document does what it says: its blocks run and print what is shown, its numbers and its links are right."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it.token import Token
from scripts.documents import LIMIT_SECONDS, check, clone, needs_quick
from scripts.figures import documents
from scripts.links import anchors, links, listed, parse

from tests.support.stages import ROOT, clean_environment

DOCUMENTS = [str(path.relative_to(ROOT)) for path in documents(ROOT)]
GUIDE = "docs/TRAINING_GUIDE.md"
LONGEST = {GUIDE, "docs/EXPERIMENTS.md"}
WIDEST_DIAGRAM = 80
UNDEFINED = re.compile(
    r"\]\[|\]\("
)  # a link is no text, unless its reference is not defined or its address has a space


def well_formed(link: str) -> bool:
    """Whether a link to another host looks like one; no test may ask the host."""
    found = urlsplit(link)
    if found.scheme == "mailto":
        return bool(re.fullmatch(r"[^@\s]+@[\w-]+(\.[\w-]+)+", found.path))
    return found.scheme == "https" and bool(re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", found.hostname or ""))


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
    return parse(path.read_text(encoding="utf-8"))


@cache
def files() -> set[Path]:
    return listed(ROOT)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_links_lead_somewhere(name: str) -> None:
    tokens = tokens_of(ROOT / name)
    broken = [token.content for token in tokens if token.type == "text" and UNDEFINED.search(token.content)]
    for link in links(tokens):
        target, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            broken += [link] if not well_formed(link) else []
            continue
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        if path not in files() or (anchor and (path.suffix != ".md" or anchor not in anchors(tokens_of(path)))):
            broken.append(link)
    assert not broken


def test_the_diagrams_of_the_guide_fit_a_narrow_window() -> None:
    paths = [ROOT / name for name in DOCUMENTS if name == GUIDE]
    fences = [token for path in paths for token in tokens_of(path) if token.type == "fence" and token.map]
    diagrams = [token for token in fences if token.info.strip() == "text"]
    wide = [line for token in diagrams for line in token.content.splitlines() if len(line) > WIDEST_DIAGRAM]
    assert not wide
