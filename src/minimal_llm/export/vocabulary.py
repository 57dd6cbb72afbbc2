"""The vocabulary of a SentencePiece model, for programs that do unigram tokenization themselves."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.tokenizer.tokenizer import SPACE_MARK, Tokenizer

# Its classes are created at import time, so mypy does not know their types.
model_pb2: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")


@dataclass(frozen=True)
class Entry:
    """A vocabulary entry. Spaces in `text` are plain spaces; a U+2581 is a literal U+2581."""

    text: str
    score: float  # log probability
    kind: str  # normal, unknown, control or byte


def vocabulary_entries(tokenizer: Tokenizer) -> list[Entry]:
    """Return the vocabulary in the order of token ids.

    Raises:
        ConfigurationError: the tokenizer is of another type than unigram or char, which its vocabulary alone does not
            define.
    """
    model = model_pb2.ModelProto.FromString(tokenizer.model)
    spec = model.trainer_spec
    if spec.model_type not in (spec.UNIGRAM, spec.CHAR):
        name = spec.ModelType.Name(spec.model_type).lower()
        raise ConfigurationError(
            f"this format supports only unigram and char tokenizers, not a tokenizer of type {name}",
            remedy="minimal-llm export --format onnx (or set tokenizer.model_type: unigram in params.yaml and retrain)",
        )
    kinds = {number: name for name, number in model_pb2.ModelProto.SentencePiece.Type.items()}
    return [
        Entry(piece.piece.replace(SPACE_MARK, " "), piece.score, kinds[piece.type].lower()) for piece in model.pieces
    ]
