"""The pieces of a SentencePiece model, for programs that look for the likeliest split of a text themselves."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.tokenizer.tokenizer import SPACE_MARK, Tokenizer

# Its classes are made when it is imported, so their types are unknown.
model_pb2: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary. A space in the text is a space: a literal U+2581 stands for itself."""

    text: str
    score: float  # log probability
    kind: str  # normal, unknown, control or byte


def vocabulary_pieces(tokenizer: Tokenizer) -> list[Piece]:
    """Return the pieces in the order of their ids.

    Raises:
        ConfigurationError: the tokenizer does not choose the likeliest split into pieces, so pieces do not define it.
    """
    model = model_pb2.ModelProto.FromString(tokenizer.model)
    spec = model.trainer_spec
    if spec.model_type not in (spec.UNIGRAM, spec.CHAR):
        name = spec.ModelType.Name(spec.model_type).lower()
        raise ConfigurationError(
            f"a tokenizer of type {name} cannot be exported to this format, only unigram or char",
            remedy="minimal-llm export --format onnx (or set tokenizer.model_type: unigram in params.yaml and retrain)",
        )
    kinds = {number: name for name, number in model_pb2.ModelProto.SentencePiece.Type.items()}
    return [
        Piece(piece.piece.replace(SPACE_MARK, " "), piece.score, kinds[piece.type].lower()) for piece in model.pieces
    ]
