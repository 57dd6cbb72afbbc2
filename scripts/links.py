"""Links and anchors of the documents, as GitHub resolves them: for the test of the links, and for the site."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

HTML = ("html_inline", "html_block")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
SRCSET = re.compile(r"\bsrcset=\"([^\"]+)\"")


def parse(text: str) -> list[Token]:
    """Return all tokens of a document, those inside of paragraphs and headings included."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def plain(heading: Token) -> str:
    """Return the text of a heading (its inline token)."""
    return "".join(child.content for child in heading.children or () if child.type in ("text", "code_inline"))


def slug(heading: Token, used: Iterable[str]) -> str:
    """Return the name that GitHub gives to a heading (its inline token) after those with the used names."""
    name = re.sub(r"[^\w\- ]", "", plain(heading).strip().lower()).replace(" ", "-")
    taken = set(used)
    return next(n for n in (name, *(f"{name}-{i}" for i in range(1, 999))) if n not in taken)


def given_names(token: Token) -> list[str]:
    """Return the names that a token gives to places in HTML of its own."""
    return re.findall(r'\b(?:id|name)="([^"]+)"', token.content) if token.type in HTML else []


def anchors(tokens: list[Token]) -> set[str]:
    """Return the names of the headings of a document, and those that it gives itself."""
    names: set[str] = set()
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            names.add(slug(following, names))
        names.update(given_names(token))
    return names


def links(tokens: list[Token]) -> Iterator[str]:
    """Yield what a document links to and the pictures that it shows."""
    for token in tokens:
        if token.type in HTML:
            yield from re.findall(r'\b(?:href|src)="([^"]+)"', token.content)
            for several in SRCSET.findall(token.content):
                yield from (entry.split()[0] for entry in several.split(","))
        yield from (str(value) for key, value in token.attrs.items() if key in ("href", "src"))


def listed(root: Path) -> set[Path]:
    """Return the files that a clone has, and their folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {root / name for name in names if name and (root / name).is_file()}
    return files | {folder for file in files for folder in file.parents}
