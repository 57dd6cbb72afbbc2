"""Code that documents quote from the source of this repository: `scripts/figures.py` checks and refreshes it.

A fenced block with the info string `python PATH::NAME` holds the source of that function, class or method as it stands
in the file, with its docstring and comments, without its indentation:

    ```python src/minimal_llm/model/transformer.py::Attention.forward

Several names are separated by commas, without spaces (`::Block,rotate`); their sources by a blank line. These blocks
are not run.
"""

from __future__ import annotations

import ast
import re
import textwrap
from itertools import zip_longest
from pathlib import Path

from markdown_it import MarkdownIt

QUOTE = re.compile(r"python (?P<path>\S+?\.py)::(?P<names>[\w.]+(?:,[\w.]+)*)")


class QuoteError(Exception):
    """An info string that names no code."""


def source(info: str, root: Path) -> str:
    """Return the code that an info string names; raises QuoteError."""
    found = QUOTE.fullmatch(info)
    if not found:
        raise QuoteError(f"{info!r} is not of the form python PATH.py::NAME or python PATH.py::NAME,NAME")
    try:
        text = (root / found["path"]).read_text(encoding="utf-8")
        tree = ast.parse(text)
    except FileNotFoundError:
        raise QuoteError(f"{found['path']} does not exist") from None
    except SyntaxError as error:
        raise QuoteError(f"{found['path']} is not Python: line {error.lineno}: {error.msg}") from None
    lines = text.splitlines()
    parts = []
    for name in found["names"].split(","):
        node = definition(tree, name)
        if node is None:
            raise QuoteError(f"{found['path']} has no function, class or method {name}")
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        parts.append(textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno])))
    return "\n\n".join(parts)


def definition(tree: ast.Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None:
    """Return the definition with a qualified name such as Attention.forward, or None."""
    found: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef = tree
    for part in name.split("."):
        for node in found.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == part:
                found = node
                break
        else:
            return None
    return None if isinstance(found, ast.Module) else found


def check(text: str, root: Path) -> tuple[str, list[tuple[int, str, str]]]:
    """Return a document with all quotes refreshed, and (line, shown, real or error) for each that differs."""
    lines = text.split("\n")
    differences: list[tuple[int, str, str]] = []
    fences = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "fence" and token.map]
    for token in reversed(fences):  # from the end, so that the numbers of earlier lines stay right
        if not token.map or not token.info.startswith("python "):
            continue
        start = token.map[0] + 1
        try:
            real = source(token.info.strip(), root).split("\n")
        except QuoteError as error:
            differences.append((start, token.info.strip(), f"error: {error}"))
            continue
        shown = token.content.split("\n")[:-1]
        if shown == real:
            continue
        pairs = enumerate(zip_longest(shown, real, fillvalue="(no line)"), start + 1)
        differences.append(next((line, old, new) for line, (old, new) in pairs if old != new))
        fence = lines[start - 1]
        indent = fence[: len(fence) - len(fence.lstrip())]
        lines[start : start + len(shown)] = [(indent + line).rstrip() for line in real]
    return "\n".join(lines), differences[::-1]
