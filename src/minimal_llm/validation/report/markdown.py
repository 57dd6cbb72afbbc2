"""Pieces of a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;", "$": "&#36;"}
_ESCAPES = str.maketrans({**_ENTITIES, **{character: f"\\{character}" for character in "\\`*_[]#"}})


def escape(text: str) -> str:
    """Return text on one line that Markdown, HTML and formulas take literally, in a table as well."""
    return " ".join(text.split()).translate(_ESCAPES)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], alignment: str) -> str:
    """Return a table; `alignment` has a letter a column, l or r. Cells are Markdown."""
    rule = ["---:" if side == "r" else "---" for side in alignment]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def picture(path: str, alt: str, reading: str) -> str:
    """Return a picture with the words that stand in for it, and under it what is to be read from it."""
    return f"![{alt}.]({path})\n\n{reading}\n"


def folded(summary: str, content: str) -> str:
    """Return content that a click on its summary unfolds."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n</details>\n"


def listed(parts: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
