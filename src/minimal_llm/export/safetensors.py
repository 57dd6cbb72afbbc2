"""safetensors: this project's own weights and names, readable without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from safetensors.numpy import save

from minimal_llm.export.source import Source

USAGE = """\
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from minimal_llm.decoder import TorchDecoder
from minimal_llm.generation import generate
from minimal_llm.model import Architecture, TinyTransformer
from minimal_llm.sampling import Sampling
from minimal_llm.tokenizer import Tokenizer

with safe_open("model.safetensors", "numpy") as file:
    facts = json.loads(file.metadata()["minimal_llm"])
model = TinyTransformer(Architecture(**facts["architecture"])).eval()
model.load_state_dict(load_file("model.safetensors"))
tokenizer = Tokenizer.load(Path("tokenizer.model"))
print(generate(TorchDecoder(model), tokenizer, "Once upon a time", 50, Sampling()))
"""
NOTE = "The weights have the names and shapes of minimal-llm. Their architecture is in the metadata of the file."


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each file of the export by its name; equal models give equal bytes."""
    facts = {
        "model_version": source.version,
        "architecture": asdict(source.architecture),
        "tokenizer_sha256": source.tokenizer.sha256,
    }
    # One entry: the library writes several in an order that differs from run to run.
    metadata = {"minimal_llm": json.dumps(facts)}
    weights = {name: np.ascontiguousarray(weight) for name, weight in source.weights.items()}
    return {"model.safetensors": save(weights, metadata), "tokenizer.model": source.tokenizer.model}
