"""Building blocks of a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;", "$": "&#36;"}
_ESCAPES = str.maketrans({**_ENTITIES, **{character: f"\\{character}" for character in "\\`*_[]#"}})


def escape(text: str) -> str:
    """Return text on one line, escaped so that Markdown, HTML and formulas show it literally, even in a table."""
    return " ".join(text.split()).translate(_ESCAPES)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], alignment: str) -> str:
    """Return a table; `alignment` has one letter per column, l or r. Cells are Markdown."""
    rule = ["---:" if letter == "r" else "---" for letter in alignment]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def picture(name: str, alt: str, reading: str) -> str:
    """Return a plot, its dark variant on a dark page, with its alternative text and a sentence on what it shows."""
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="plots/{name}-dark.png">'
    return f'<picture>{dark}<img alt="{alt}." src="plots/{name}.png"></picture>\n\n{reading}\n'


def folded(summary: str, content: str) -> str:
    """Return content that is collapsed until its summary is clicked."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n</details>\n"


def listed(parts: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
