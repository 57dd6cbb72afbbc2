"""The commands that look at a model, export it and measure it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from minimal_llm.cli.arguments import add_model, add_path, add_runtime
from minimal_llm.export.export import FORMATS

add_bench = add_runtime
LARGE_PAGE = 4_000_000  # bytes: several times the page of the default model


def add_info(parser: argparse.ArgumentParser) -> None:
    """Add the options of `info`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model(parser)


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    formats = sorted(FORMATS)
    parser.add_argument("--format", required=True, choices=formats, metavar="FORMAT", help=", ".join(formats))
    told = "of the weights in format html: int8 (default) or fp32"
    parser.add_argument("--precision", choices=("int8", "fp32"), metavar="PRECISION", help=told)
    add_path(parser, "-o", "--output", type=Path, metavar="PATH", help="the folder to write (default: export/FORMAT)")
    add_model(parser)


def info(options: argparse.Namespace) -> int:
    """Print what a model is and how it was trained; return 0. Raises as `load_runtime`."""
    from minimal_llm.common.files import size_of
    from minimal_llm.inference.runtime import load_runtime

    runtime = load_runtime(options.model, threads=1)
    facts: dict[str, Any] = {
        "model": str(options.model),
        "engine": runtime.engine,
        **runtime.description,
        "tokenizer_sha256": runtime.tokenizer.sha256,
        "file_mb": round(size_of(options.model) / 1e6, 2),
        **_training_result(options.model.parent),
    }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:{width}}  {value}" for name, value in facts.items()))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a model in another format; return 0. Raises as `minimal_llm.export.export.export`."""
    from minimal_llm.common.files import readable_size
    from minimal_llm.export.export import export
    from minimal_llm.inference.runtime import find_tokenizer_file
    from minimal_llm.model.model_file import load_model

    path: Path = options.model
    output = options.output or Path("export") / options.format
    tokenizer = find_tokenizer_file(path.parent, load_model(path).tokenizer_sha256, path)
    export(path, tokenizer, path.parent, options.format, output, options.precision)
    print(f"wrote {output}: " + ", ".join(sorted(file.name for file in output.iterdir())))
    for page in output.glob("*.html"):
        if page.stat().st_size > LARGE_PAGE:
            size = readable_size(page.stat().st_size)
            print(f"note: the page has {size}, all of which a browser reads when it opens it", file=sys.stderr)
    return 0


def bench(options: argparse.Namespace) -> int:
    """Print what inference costs as JSON; return 0. Raises as `measure_in_fresh_process`."""
    from minimal_llm.inference.benchmark import measure_in_fresh_process

    print(json.dumps(measure_in_fresh_process(options.model, options.threads).metrics, indent=2))
    return 0


def _training_result(folder: Path) -> dict[str, Any]:
    """Return the main results of the training run whose metrics are in the model's folder, if they are.

    Raises:
        ValidationError: they are damaged.
    """
    from minimal_llm.common.errors import ValidationError
    from minimal_llm.common.files import read_sealed

    path = folder / "training_metrics.json"
    if not path.exists():
        return {}
    try:
        metrics = read_sealed(path)
    except (OSError, ValueError) as error:
        raise ValidationError(f"{path} is damaged: {error}", remedy="dvc checkout, or make train") from error
    final = metrics["final_metrics"]
    names = ("parameters", "epochs", "best_epoch", "val_loss", "val_perplexity", "val_bits_per_byte")
    corpus = metrics["corpus"]["source"] + (" (fallback)" if metrics["corpus"]["fallback"] else "")
    return {"run_id": metrics["run_id"], "corpus": corpus, **{name: final[name] for name in names}}
