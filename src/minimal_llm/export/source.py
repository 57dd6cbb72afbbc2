"""What every format is made of: the weights as numpy arrays, their architecture and the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        """The number of trained numbers."""
        return sum(weight.size for weight in self.weights.values())


def load_source(model_path: Path, tokenizer_path: Path) -> Source:
    """Return what is in a model file and in the tokenizer file that it belongs to.

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
    """Return the weights under the names of another program, with q, k, v and gate, up each on its own.

    `outer` names what is there once, `inner` what is there in each layer, `layer` the prefix with {} for its number.
    """
    renamed = {f"{outer[part]}.weight": source.weights[f"{part}.weight"] for part in ("embedding", "norm", "head")}
    for number in range(source.architecture.layers):
        for part, weight in layer_weights(source, number).items():
            renamed[f"{layer.format(number)}.{inner[part]}.weight"] = weight
    return renamed


def layer_weights(source: Source, number: int) -> dict[str, Weight]:
    """Return the weights of one layer; q, k, v are (C, C), gate and up (F, C), views of the fused ones."""
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
