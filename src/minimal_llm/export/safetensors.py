"""Format safetensors: the weights under this project's own names, readable without pickle."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save

from minimal_llm.export.source import Source

USAGE = """\
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from minimal_llm.inference.generation import generate
from minimal_llm.inference.sampling import Sampling
from minimal_llm.inference.torch_decoder import TorchDecoder
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.tokenizer import Tokenizer

with safe_open("model.safetensors", "numpy") as file:
    metadata = json.loads(file.metadata()["minimal_llm"])
model = TinyTransformer(Architecture(**metadata["architecture"])).eval()
model.load_state_dict(load_file("model.safetensors"))
tokenizer = Tokenizer.load(Path("tokenizer.model"))
print(generate(TorchDecoder(model), tokenizer, "Once upon a time", 50, Sampling()))
"""
NOTE = "The weights have the names and shapes used by minimal-llm. The file's metadata contains the architecture."


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes."""
    # A single metadata entry: with several, the library writes them in an order that differs from run to run.
    weights = {name: np.ascontiguousarray(weight) for name, weight in source.weights.items()}
    return {
        "model.safetensors": save(weights, {"minimal_llm": source.metadata}),
        "tokenizer.model": source.tokenizer.model,
    }
