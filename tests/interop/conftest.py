"""Trained models to export. These tests need the packages installed by `make test-export` and are skipped without."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.export.export import FORMATS, export
from minimal_llm.model.model_file import load_model
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.tokenizer import Tokenizer
from tests.support.stages import run_stage, succeed

if importlib.util.find_spec("llama_cpp") is None:
    collect_ignore_glob = ["test_*"]

# The default shapes, and a model that differs in every shape: head size, number of layers, an odd vocabulary size.
SHAPES = {
    "default": "--epochs 1",
    "other": "--epochs 3 --layers 1 --d-model 64 --heads 8 --feed-forward 192 --max-seq-length 96 --batch-size 16",
}
VOCABULARY = {"default": "2000", "other": "1013"}


@dataclass(frozen=True)
class Exported:
    """A trained model, its tokenizer, and a folder with an export in each format."""

    model: TinyTransformer
    tokenizer: Tokenizer
    folder: Path


@pytest.fixture(scope="session", params=list(SHAPES))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small model, trained by the stage scripts and exported."""
    folder = tmp_path_factory.mktemp(request.param)
    data = Artifacts(folder / "data")
    train = f"{SHAPES[request.param]} --threads 2 --compile never"
    for stage, flags in (
        ("download", "--source primer --primer-megabytes 0.3"),
        ("tokenizer", f"--vocab-size {VOCABULARY[request.param]}"),
        ("train", train),
        ("validate", ""),
    ):
        succeed(run_stage(stage, data.root, *flags.split(), tiny=False))
    for name in FORMATS:
        export(data.best_model, data.tokenizer_model, data.root, name, folder / name)
    tokenizer = Tokenizer.load(data.tokenizer_model)
    return Exported(load_model(data.best_model, tokenizer.sha256).model, tokenizer, folder)
