"""Draw the pictures of the documents into docs/pictures, each in light and dark colours.

    python scripts/pictures.py [NAME...]                                # all, or these, from committed files
    python scripts/pictures.py --record "make train"                    # run this, and keep its output for the cast
    python scripts/pictures.py --model data/best_model.pt               # measure a model for attention-en and -es
    python scripts/pictures.py --page export/html/minimal-llm-*.html    # photograph the page of a model

The last three also draw. They write docs/reference/train_log.txt, docs/reference/inside.json, and the photographs in
docs/pictures and docs/page. What is drawn follows from committed files alone, and the same files give the same bytes: a
test compares them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python scripts/pictures.py`
from scripts.drawings import architecture, attention, cast, learning, pipeline  # noqa: E402
from scripts.drawings.svg import THEMES, Theme  # noqa: E402
from scripts.figures import Results, architecture_of  # noqa: E402

from minimal_llm.common.files import write_text  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
INSIDE = ROOT / "docs" / "reference" / "inside.json"
LOG = ROOT / "docs" / "reference" / "train_log.txt"
REPORT = ROOT / "data" / "report.md"

DRAWINGS: dict[str, Callable[[Theme, Results], str]] = {
    "architecture": lambda theme, results: architecture.draw(theme, architecture_of(results["params"])),
    "pipeline": pipeline.draw,
    "attention-en": lambda theme, results: attention.draw(theme, results["inside"], "en"),
    "attention-es": lambda theme, results: attention.draw(theme, results["inside"], "es"),
    "cast": lambda theme, _: cast.draw(theme, cast.read_log(LOG)),
    "learning": lambda theme, results: learning.draw(theme, results["history"], learning.read_samples(REPORT)),
}


def files(name: str) -> dict[Path, str]:
    """Return the content of the files of a drawing."""
    results = Results(ROOT)
    return {PICTURES / f"{name}{theme.suffix}.svg": DRAWINGS[name](theme, results) for theme in THEMES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to draw (default: all): {', '.join(DRAWINGS)}")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a trained model, beside its tokenizer and tokens/")
    parser.add_argument("--record", metavar="COMMAND", help="a command that trains the reference run")
    parser.add_argument("--page", type=Path, metavar="FILE", help="the page of a model (make page)")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(DRAWINGS):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are: {', '.join(DRAWINGS)}")
    if options.record and (code := cast.record(options.record, LOG)):
        return code
    if options.model:
        _measure(options.model)
    if options.page:
        from scripts.drawings import photographs  # needs the packages of make setup-dev

        photographs.take(options.page, PICTURES.parent)
    for name in options.names or DRAWINGS:
        for path, content in files(name).items():
            write_text(path, content)
    return 0


def _measure(model: Path) -> None:
    """Measure a model, and print what the documents say about it."""
    from scripts.drawings import inside

    found = inside.measure(model)
    write_text(INSIDE, json.dumps(found, ensure_ascii=False) + "\n")
    print(inside.table(found["neighbours"]))
    for head in found["heads"]:
        print(", ".join(f"{name} {value}" for name, value in head.items()))


if __name__ == "__main__":
    sys.exit(main())
