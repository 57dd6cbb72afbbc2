"""The input of every export: weights as numpy arrays, their architecture, and the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minimal_llm.model.model_file import load_model
from minimal_llm.model.transformer import Architecture
from minimal_llm.tokenizer.tokenizer import Tokenizer

Weight = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A trained model and its tokenizer."""

    architecture: Architecture
    weights: Mapping[str, Weight]  # named as in the model file
    tokenizer: Tokenizer
    version: str

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(weight.size for weight in self.weights.values())

    @property
    def metadata(self) -> str:
        """Model version, architecture and tokenizer hash as JSON, for formats with room for metadata."""
        return json.dumps(
            {
                "model_version": self.version,
                "architecture": asdict(self.architecture),
                "tokenizer_sha256": self.tokenizer.sha256,
            }
        )


def load_source(model_path: Path, tokenizer_path: Path) -> Source:
    """Load a model file and the tokenizer file that it was trained with.

    Raises:
        TokenizerError: the tokenizer cannot be read.
        ValidationError: the model cannot be read, or belongs to another tokenizer.
    """
    tokenizer = Tokenizer.load(tokenizer_path)
    loaded = load_model(model_path, tokenizer.sha256)
    weights = {name: weight.numpy() for name, weight in loaded.model.state_dict().items()}
    return Source(loaded.model.architecture, weights, tokenizer, loaded.version)


def renamed_weights(
    source: Source, outer: Mapping[str, str], inner: Mapping[str, str], layer: str
) -> dict[str, Weight]:
    """Return the weights under the names of another program, with fused q, k, v and gate, up split.

    `outer` has the names outside of the layers, `inner` those inside, `layer` the prefix of a layer, {} its number.
    A tied head is left out: these programs use the embedding then.
    """
    if source.architecture.tie_embeddings:
        outer = {part: name for part, name in outer.items() if part != "head"}
    renamed = {f"{outer[part]}.weight": source.weights[f"{part}.weight"] for part in outer}
    for number in range(source.architecture.layers):
        for part, weight in layer_weights(source, number).items():
            renamed[f"{layer.format(number)}.{inner[part]}.weight"] = weight
    return renamed


def layer_weights(source: Source, number: int) -> dict[str, Weight]:
    """Return the weights of one layer; q, k, v (C, C) and gate, up (F, C) are views of the fused ones."""
    prefix = f"blocks.{number}"
    q, k, v = np.split(source.weights[f"{prefix}.attention.qkv.weight"], 3)
    gate, up = np.split(source.weights[f"{prefix}.feed_forward.gate_up.weight"], 2)
    return {
        "attention_norm": source.weights[f"{prefix}.attention_norm.weight"],
        "q": q,
        "k": k,
        "v": v,
        "out": source.weights[f"{prefix}.attention.out.weight"],
        "feed_forward_norm": source.weights[f"{prefix}.feed_forward_norm.weight"],
        "gate": gate,
        "up": up,
        "down": source.weights[f"{prefix}.feed_forward.down.weight"],
    }
