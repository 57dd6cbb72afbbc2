"""Check the numbers in the documents against the committed results, and the code that they quote against its source.

    python scripts/figures.py            # list the numbers and the code that differ
    python scripts/figures.py --write    # correct them

A block ```` ```python PATH::NAME ```` quotes code of this repository: see scripts/quotes.py.

A number is followed by an invisible comment with an expression and a format: `4.379<!-- train.val_loss .3f -->`.
Expressions consist of names, numbers, + - * / and parentheses. The names:

    train, validation, inference, tokenizer, train_speed    data/metrics/*.json
    primer.train, primer.validation, ...                    docs/reference/primer_*.json
    recipe['trial / seed 1'], untied[..]                    docs/reference/recipe_study.json, recipe_study_untied.json
    examples['name'], sweep[..]                             docs/reference/examples.json, sweep.json
    corpus['300'], scale['default']                         docs/reference/corpus_scale.json, training_scale.json
    inside.heads[7].previous                                docs/reference/inside.json, measured by scripts/pictures.py
    bench                                                   docs/reference/bench.json, of make bench
    history[3]                                              the row of epoch 3 in data/plots/history.csv
    params                                                  params.yaml
    count.parameters                                        parameters of the model defined by params.yaml
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import operator
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from minimal_llm.model.transformer import Architecture

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python scripts/figures.py`
from scripts import quotes  # noqa: E402

FOLDERS = ("docs", "examples")
METRICS = ("train", "validation", "inference", "tokenizer", "train_speed")
REFERENCE = {
    "recipe": "recipe_study.json",
    "untied": "recipe_study_untied.json",
    "examples": "examples.json",
    "sweep": "sweep.json",
    "corpus": "corpus_scale.json",
    "scale": "training_scale.json",
    "inside": "inside.json",
    "bench": "bench.json",
}
OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
REGION = re.compile(r"\s*(parameters:|end\b)")  # a comment of scripts/parameters.py
# The word before the comment, without opening marks as in (4.379<!-- ... -->) and **4.379<!-- ... -->**.
FIGURE = re.compile(r"(?P<word>[^\s|/()\[\]*`<>~≈]*)<!--(?P<comment>.*?)-->", re.DOTALL)


class FigureError(Exception):
    """A comment from which no number can be computed."""


class Results:
    """The values of the names in expressions; files are read when first used."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> Any:
        reference = self._root / "docs" / "reference"
        if name in METRICS:
            return self._json(self._root / "data" / "metrics" / f"{name}.json")
        if name == "primer":
            return {
                metrics: self._json(reference / f"primer_{metrics}.json")
                for metrics in METRICS
                if metrics != "tokenizer"
            }
        if name in REFERENCE:
            return self._json(reference / REFERENCE[name])
        if name == "history":
            text = self._text(self._root / "data" / "plots" / "history.csv")
            rows = csv.DictReader(text.splitlines())
            return {int(row["epoch"]): {key: float(value) for key, value in row.items()} for row in rows}
        if name == "params":
            return yaml.safe_load(self._text(self._root / "params.yaml"))
        if name == "count":
            return {"parameters": count_parameters(self["params"])}
        raise FigureError(f"unknown name {name!r}")

    def _json(self, path: Path) -> Any:
        return json.loads(self._text(path))

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise FigureError(f"{path.relative_to(self._root)} does not exist") from None


def count_parameters(params: Any) -> int:
    """Return the number of parameters of the model that params.yaml defines."""
    from minimal_llm.model.transformer import TinyTransformer, parameter_count  # imports torch, which takes a second

    return parameter_count(TinyTransformer(architecture_of(params)))


def architecture_of(params: Any) -> Architecture:
    """Return the architecture of the model that params.yaml defines."""
    from minimal_llm.model.transformer import Architecture

    return Architecture(
        vocab_size=params["tokenizer"]["vocab_size"],
        **params["model"],
        max_seq_length=params["train"]["max_seq_length"],
    )


def evaluate(node: ast.AST, results: Results) -> Any:
    """Return the value of an expression; raises FigureError for anything that is not allowed in it."""
    match node:
        case ast.Expression(body=body):
            return evaluate(body, results)
        case ast.Constant(value=int() | float()):
            return node.value
        case ast.Name(id=name):
            return results[name]
        case ast.Attribute(value=inner, attr=key) | ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            try:
                return evaluate(inner, results)[key]
            except (KeyError, IndexError, TypeError):
                raise FigureError(f"{ast.unparse(inner)} has no {key!r}") from None
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in OPERATORS:
            return OPERATORS[type(operation)](evaluate(left, results), evaluate(right, results))
        case ast.UnaryOp(op=operation, operand=operand) if type(operation) in OPERATORS:
            return OPERATORS[type(operation)](evaluate(operand, results))
    raise FigureError(f"not allowed in an expression: {ast.unparse(node)}")


def figure(found: re.Match[str], results: Results) -> str:
    """Return the number that a comment describes, formatted; raises FigureError."""
    comment = " ".join(found["comment"].split())
    expression, _, form = comment.rpartition(" ")
    if not found["word"]:
        raise FigureError(f"there is no number directly before the comment {comment!r}")
    if not expression:
        raise FigureError("the comment needs an expression and a format, like <!-- train.val_loss .3f -->")
    try:
        return format(evaluate(ast.parse(expression, mode="eval"), results), form)
    except (SyntaxError, ValueError, TypeError, ZeroDivisionError) as error:
        raise FigureError(f"{expression!r} as {form!r}: {error}") from None


def lines_of_code(text: str) -> set[int]:
    """Return the indices of the lines in code blocks, where comments are ordinary text."""
    tokens = MarkdownIt("commonmark").parse(text)
    blocks = [token.map for token in tokens if token.map and token.type in ("fence", "code_block")]
    return {line for start, end in blocks for line in range(start, end)}


def check(text: str, results: Results) -> tuple[str, list[tuple[int, str, str]]]:
    """Return a document with all numbers computed, and (line, shown, computed or error) for each that differs."""
    code = lines_of_code(text)
    differences: list[tuple[int, str, str]] = []

    def computed(found: re.Match[str]) -> str:
        line = text.count("\n", 0, found.start())
        if line in code or REGION.match(found["comment"]):
            return found[0]
        try:
            value = figure(found, results)
        except FigureError as error:
            differences.append((line + 1, found["word"], f"error: {error}"))
            return found[0]
        if value != found["word"]:
            differences.append((line + 1, found["word"], value))
        return f"{value}<!--{found['comment']}-->"

    return FIGURE.sub(computed, text), differences


def documents(root: Path) -> Iterator[Path]:
    """Yield the documents of a repository: those in its root, docs/ and examples/."""
    yield from sorted(root.glob("*.md"))
    for folder in FOLDERS:
        yield from sorted((root / folder).rglob("*.md"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="correct the numbers and the code that differ")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    results = Results(options.root)
    wrong = 0
    for path in documents(options.root):
        text = path.read_text(encoding="utf-8")
        quoted, differences = quotes.check(text, options.root)
        computed, numbers = check(quoted, results)
        if options.write and computed != text:
            path.write_text(computed, encoding="utf-8")
        for line, shown, real in differences + numbers:
            replaced = options.write and not real.startswith("error")
            print(
                f"{path.relative_to(options.root)}:{line}: shown {shown!r}, computed {real!r}"
                + " (corrected)" * replaced
            )
            wrong += not replaced
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
