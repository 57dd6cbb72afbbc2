"""Write what config.py says about the parameters into the tables of the guide and the comments of params.yaml.

    python scripts/parameters.py            # list what differs
    python scripts/parameters.py --write    # correct it

The text below each field of src/minimal_llm/common/config.py describes a parameter. Its first sentence is the comment
of the key in params.yaml. All of it is in a table of the guide, between `<!-- parameters: ... -->`, which lists keys or
sections, and `<!-- end -->`. Ranges come from config.py, defaults from params.yaml, and the stages that run again from
dvc.yaml. The last column of a table, what was measured, is written by hand and kept.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from minimal_llm.common import config
from minimal_llm.common.config import Config, describe_range, flat

ROOT = Path(__file__).resolve().parent.parent
GUIDE, PARAMS, PIPELINE = Path("docs/TRAINING_GUIDE.md"), Path("params.yaml"), Path("dvc.yaml")
REGION = re.compile(r"(?P<start><!-- parameters: (?P<keys>[^>]*?) -->\n)(?P<body>.*?)(?P<end><!-- end -->)", re.DOTALL)
ROW = re.compile(r"^\| `(?P<key>[a-z0-9_.]+)` \|.*\| ?(?P<measured>[^|]*?) ?\|$", re.MULTILINE)
KEY_LINE = re.compile(r"^(?P<indent> *)(?P<name>[a-z0-9_]+):(?P<value>[^#]*?)(?:\s+#.*)?$")
HEAD = "| key | default | range | what it does | measured |\n| --- | --- | --- | --- | --- |\n"
COMMENT_COLUMN = 32
OF_NO_RANGE = {  # where config.py has neither a list nor bounds
    "download.books.en": "a list of ids",
    "download.books.es": "a list of ids",
    "download.files": "a list of paths",
    "tokenizer.name": "letters, digits, `-`, `_`",
    "train.init_from": "a path",
    "train.extend_from": "a path",
}


class ParameterError(Exception):
    """Something that --write cannot correct: a key without a description, without a table, or in two tables."""


def fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    """Yield the dotted name of each parameter, the class that it is a field of, and the field."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{prefix}{field.alias or name}.")
        else:
            yield f"{prefix}{name}", section, field


def descriptions(source: str) -> dict[str, str]:
    """Return what the source text of config.py says below each field, on one line, by the name of the parameter."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    told: dict[tuple[str, str], str] = {}
    for name, node in classes.items():
        for field, below in zip(node.body, node.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    told[name, key] = " ".join(text.split())
    keys = {key: (section.__name__, key.rpartition(".")[2]) for key, section, _ in fields()}
    if missing := [key for key, place in keys.items() if place not in told]:
        raise ParameterError(f"no text below their fields in config.py: {', '.join(missing)}")
    return {key: told[place] for key, place in keys.items()}


def choices(field: FieldInfo) -> list[str]:
    """Return the values that a parameter may have, if there is a list of them."""
    if field.annotation is bool:
        return ["true", "false"]
    of = [choice for choice in (field.annotation, *get_args(field.annotation)) if get_origin(choice) is Literal]
    return [str(value) for choice in of for value in get_args(choice)]


def range_of(key: str, field: FieldInfo) -> str:
    """Return what a parameter may be, as the tables show it: "`auto`, 1 to 256"."""
    words = describe_range(key).replace("at least ", "").replace(" and at most ", " to ")
    words = (
        words.replace("above 0 and", "above 0,").replace("above 0 to", "above 0, to").replace(" and below", " to below")
    )
    bounds = re.sub(r"\d[\d.e-]*", lambda found: f"{float(found[0]):,.10f}".rstrip("0").rstrip("."), words)
    listed = [f"`{value}`" for value in choices(field)]
    return OF_NO_RANGE.get(key) or ", ".join([*listed, bounds] if bounds else listed)


def default_of(value: Any) -> str:
    """Return a value of params.yaml as the tables show it."""
    if isinstance(value, list) and value:
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def runs_again(key: str, pipeline: Mapping[str, Any]) -> str:
    """Return the line that says which stages run again after a change of a parameter."""
    stages = {name: stage for name, stage in pipeline["stages"].items() if name != "parameters"}
    section = key.partition(".")[0]
    first = [name for name, stage in stages.items() if {key, section, key.rpartition(".")[0]} & set(stage["params"])]
    if not first:
        return "*Runs again: nothing.*"
    later = [name for name in list(stages)[list(stages).index(first[0]) :] if name not in first]
    also = f"; {', '.join(later)} if {'its' if len(later) == 1 else 'their'} input has changed" if later else ""
    return f"*Runs again: {', '.join(first)}{also}.*"


def with_tables(guide: str, told: Mapping[str, str], params: Any, pipeline: Any) -> str:
    """Return the guide with the tables of its regions written anew, and their last column kept.

    Raises:
        ParameterError: a parameter has no table, or two, or those of a table do not run the same stages again.
    """
    by_key = {key: field for key, _, field in fields()}
    values, seen = flat(params), list[str]()

    def written(found: re.Match[str]) -> str:
        wanted = found["keys"].replace(",", " ").split()
        keys = [key for name in wanted for key in by_key if key == name or key.startswith(f"{name}.")]
        measured = {row["key"]: row["measured"] for row in ROW.finditer(found["body"])}
        again = {runs_again(key, pipeline) for key in keys}
        if len(again) != 1:
            raise ParameterError(f"not one set of stages that run again, or no such key: {found['keys']}")
        seen.extend(keys)
        rows = (
            f"| `{key}` | `{default_of(values[key])}` | {range_of(key, by_key[key])} | {told[key]} "
            f"| {measured.get(key, '')} |\n".replace("|  |", "| |")
            for key in keys
        )
        return f"{found['start']}\n{HEAD}{''.join(rows)}\n{again.pop()}\n\n{found['end']}"

    text = REGION.sub(written, guide)
    if wrong := [key for key in by_key if seen.count(key) != 1]:
        raise ParameterError(f"in no table of {GUIDE}, or in two: {', '.join(wrong)}")
    return text


def with_comments(text: str, told: Mapping[str, str]) -> str:
    """Return the text of params.yaml with the first sentence of each description as the comment of its key."""
    by_key, path, lines = {key: field for key, _, field in fields()}, list[str](), []
    for line in text.split("\n"):
        found = KEY_LINE.match(line)
        if found:
            path = [*path[: len(found["indent"]) // 2], found["name"]]
            if (key := ".".join(path)) in told:
                line = commented(f"{found['indent']}{found['name']}:{found['value']}", key, by_key[key], told[key])
        lines.append(line)
    return "\n".join(lines)


def commented(line: str, key: str, field: FieldInfo, text: str) -> str:
    """Return a line of params.yaml with its comment: the values to choose from, and the first sentence of a text."""
    sentence = re.split(r"\.(?: |$)", text)[0]
    listed = [] if field.annotation is bool else choices(field)
    if listed and describe_range(key):
        listed.append("a number")
    return f"{line.rstrip():{COMMENT_COLUMN - 2}}  # {' | '.join(listed)}{'. ' * bool(listed)}{sentence}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="correct what differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    guide, params = options.root / GUIDE, options.root / PARAMS
    values, pipeline = (
        yaml.safe_load((options.root / name).read_text(encoding="utf-8")) for name in (PARAMS, PIPELINE)
    )
    try:
        told = descriptions(Path(config.__file__).read_text(encoding="utf-8"))
        wanted = {
            guide: with_tables(guide.read_text(encoding="utf-8"), told, values, pipeline),
            params: with_comments(params.read_text(encoding="utf-8"), told),
        }
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return sum(corrected(path, text, options.write) for path, text in wanted.items()) and 1


def corrected(path: Path, wanted: str, write: bool) -> bool:
    """Print the lines of a file that should be others, or write them; return whether the file is still wrong."""
    lines, right = path.read_text(encoding="utf-8").split("\n"), wanted.split("\n")
    if lines == right:
        return False
    if write:
        path.write_text(wanted, encoding="utf-8")
        print(f"{path.name}: corrected")
        return False
    for line in [line for line in right if line not in lines]:
        print(f"{path.name}: missing line: {line}")
    told = f"{path.name} is not what {Path(config.__file__).name} says"
    print(f"{told}; to correct it: python scripts/parameters.py --write")
    return True


if __name__ == "__main__":
    sys.exit(main())
