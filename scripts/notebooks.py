"""Write the sections of the guide as notebooks: their text, and the blocks that the tests run as cells.

    python scripts/notebooks.py [--folder runs/notebooks]

A `python` block becomes a cell, a `sh` block one for bash. Both show the output that the guide shows, which the tests
compare with the real one. Blocks that the tests do not run stay text, so that "run all" does what the tests do. The
notebooks are never kept: change the guide instead.
"""

from __future__ import annotations

import argparse
import base64
import json
import mimetypes
import posixpath
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python scripts/notebooks.py`
from scripts.document_format import Block, Parser  # noqa: E402
from scripts.links import COMMENT, slug  # noqa: E402

GUIDE = "docs/TRAINING_GUIDE.md"
INTRODUCTION = (
    "This notebook is a section of the training guide of minimal-llm. Run it in a clone of the repository, with the "
    "Python of its environment (`.venv`) as its kernel. The outputs are those of the guide, in which `...` stands for "
    "what it leaves out. Running a cell replaces them by yours."
)
SET_UP = """\
import os
import sys
from pathlib import Path

# As in the guide, everything runs in the root of the repository, with its environment first on the path.
root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "dvc.yaml").exists()), None)
if root is None:
    raise FileNotFoundError(f"{Path.cwd()} is not in a clone of minimal-llm: start Jupyter in one")
os.chdir(root)
os.environ["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
"""
RAISES = re.compile(r"[\w.]*(Error|Exception|Exit)\b")
PICTURE = re.compile(r"<picture>.*?</picture>|<img\b[^>]*>", re.DOTALL)
ATTRIBUTE = re.compile(r'\b(alt|src)="([^"]*)"')
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]`]|`[^`]*`)+)\]\((?!\w+:)[^)\s]+\)")


def notebooks(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return the notebooks of the guide, one for each section with a block that is run, by their file names."""
    guide = root / GUIDE
    text = guide.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [
        (token.map[0], slug(tokens[index + 1], ()))
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2" and token.map
    ]
    ends = [start for start, _ in headings[1:]] + [len(lines)]
    blocks = [block for block in Parser(text).blocks if not block.exempt]
    made = {}
    for (start, name), end in zip(headings, ends, strict=True):
        inside = [block for block in blocks if start < block.line <= end]
        if inside:
            made[f"{name}.ipynb"] = notebook(lines, start, end, inside, guide.parent)
    return made


def notebook(lines: list[str], start: int, end: int, blocks: Sequence[Block], folder: Path) -> dict[str, Any]:
    """Return a notebook of some lines with the blocks that are run in them; folder is that of the document."""
    cells = [text_cell(INTRODUCTION, folder), code_cell(SET_UP)]
    for block in blocks:
        cells.append(text_cell("".join(lines[start : block.line - 1]), folder))
        cells.append(block_cell(block))
        start = block.line + 1 + block.code.count("\n")
        if block.output is not None:
            start = block.output_lines[1] + 1
    cells.append(text_cell("".join(lines[start:end]), folder))
    kept = [cell for cell in cells if cell["source"]]
    for number, cell in enumerate(kept):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": kept, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def block_cell(block: Block) -> dict[str, Any]:
    """Return the cell of a block that is run."""
    cell = code_cell(block.code if block.language == "python" else f"%%bash -euo pipefail\n{block.code}")
    if block.output:
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": block.output}]
        if block.language == "python" and RAISES.match(block.output.rstrip().split("\n")[-1]):
            cell["metadata"]["tags"] = ["raises-exception"]  # "run all" goes on after it
    return cell


def code_cell(code: str) -> dict[str, Any]:
    source = code.rstrip("\n")
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def text_cell(text: str, folder: Path) -> dict[str, Any]:
    """Return the cell of some Markdown, with its pictures in it and without links to other files."""
    attachments: dict[str, dict[str, str]] = {}

    def attached(found: re.Match[str]) -> str:
        name = posixpath.basename(found["file"])
        content, kind = (folder / found["file"]).read_bytes(), mimetypes.guess_type(name)[0] or "image/png"
        is_text = kind == "image/svg+xml"
        attachments[name] = {kind: content.decode() if is_text else base64.b64encode(content).decode()}
        return f"![{found['alt']}](attachment:{name})"

    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):  # the others are code
        plain = PICTURE.sub(markdown_image, COMMENT.sub("", parts[index]))
        parts[index] = LINK.sub(r"\g<text>", IMAGE.sub(attached, plain))
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": "".join(parts).strip("\n")}
    return cell | ({"attachments": attachments} if attachments else {})


def markdown_image(picture: re.Match[str]) -> str:
    """Return in Markdown an <img>, or the light one of a <picture>."""
    attributes = dict(ATTRIBUTE.findall(picture[0][picture[0].index("<img") :]))
    return f"![{attributes.get('alt', '')}]({attributes['src']})"


def write(folder: Path, root: Path = ROOT) -> list[str]:
    """Write the notebooks of the guide into a folder; return their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = notebooks(root)
    for name, content in made.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "notebooks", help="(default: %(default)s)")
    folder = parser.parse_args().folder
    names = write(folder)
    print(f"{len(names)} notebooks in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
