"""Export a trained model for use in other programs, as a folder with weights, tokenizer and model card."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from minimal_llm.common.errors import ConfigurationError


@dataclass(frozen=True)
class Format:
    """An export format: the module that writes it, its files, and the packages needed to load it."""

    module: str
    files: tuple[str, ...]
    packages: str


FORMATS = {
    "safetensors": Format("safetensors", ("model.safetensors", "tokenizer.model"), "minimal-llm[train] safetensors"),
    "onnx": Format("onnx.graph", ("model.onnx", "tokenizer.model"), "onnxruntime sentencepiece"),
    "onnx-int8": Format("onnx.int8", ("model.onnx", "tokenizer.model"), "onnxruntime sentencepiece"),
    "gguf": Format("gguf", ("model.gguf", "Modelfile"), "llama-cpp-python"),
    "html": Format("html.page", ("minimal-llm-*.html",), ""),
    "hf": Format(
        "huggingface",
        ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        "torch transformers",
    ),
}
CARD = "README.md"


def export(
    model_path: Path,
    tokenizer_path: Path,
    data_folder: Path,
    format_name: str,
    output: Path,
    precision: str | None = None,
) -> None:
    """Export a model to the folder `output`, completely or not at all; the same inputs give the same bytes.

    The manifest and metrics for the model card are read from `data_folder` if they exist. An earlier export in
    `output` is replaced. Only format html has a choice of `precision`: int8, the default, or fp32.

    Raises:
        ConfigurationError: the format does not exist, has no such precision, its library is not installed, it cannot
            represent the tokenizer, or `output` contains something other than an export.
        TokenizerError, CorpusError, ValidationError: an input is missing, damaged, or belongs to another model.
        OSError: the folder cannot be written.
    """
    if format_name not in FORMATS:
        raise ConfigurationError(
            f"unknown export format {format_name!r}", remedy=f"choose one of: {', '.join(FORMATS)}"
        )
    if precision and format_name != "html":
        raise ConfigurationError(
            f"format {format_name} has one precision", remedy="leave --precision out, or use --format html"
        )
    chosen = FORMATS[format_name]
    module = _load(format_name, chosen)
    # These import torch, which listing the formats does not need.
    from minimal_llm.export.folder import write_folder
    from minimal_llm.export.model_card import Usage, read_facts, render_card
    from minimal_llm.export.source import load_source

    source = load_source(model_path, tokenizer_path)
    usage = Usage(format_name, chosen.packages, module.NOTE, module.USAGE)
    facts = read_facts(data_folder, model_path)
    written = module.files(source, facts, precision or "int8") if format_name == "html" else module.files(source)
    contents: dict[str, bytes] = {**written, CARD: render_card(source, facts, usage).encode()}
    replaceable = frozenset(name for one in FORMATS.values() for name in one.files) | {CARD}
    write_folder(output, contents, replaceable)


def _load(format_name: str, chosen: Format) -> ModuleType:
    try:
        return importlib.import_module(f"minimal_llm.export.{chosen.module}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"export format {format_name} requires the package {error.name}, which is not installed",
            remedy="pip install 'minimal-llm[export]'",
        ) from error
