"""The weights and the tokenizer in the form that the page's engine reads."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimal_llm.export.onnx.quantization import quantize_rows
from minimal_llm.export.source import Source
from minimal_llm.export.vocabulary import model_pb2
from minimal_llm.tokenizer.tokenizer import Tokenizer

ALIGNMENT = 16  # bytes
COLUMNS = 8  # rows are padded with zeros to a multiple of this, for the kernel
KINDS = {"NORMAL": "n", "UNKNOWN": "u", "CONTROL": "c", "BYTE": "b"}


def pack_model(source: Source, precision: str) -> tuple[dict[str, Any], bytes]:
    """Return a description of the weights, with the offset of each, and the weights themselves.

    Matrices have int8 rows with one scale each, as in format onnx-int8, or fp32 rows; the rest is fp32.
    """
    blob = bytearray()
    tensors = {}
    for full_name, weight in source.weights.items():
        name = full_name.removesuffix(".weight")
        if weight.ndim == 1:
            tensors[name] = {"at": _append(blob, weight)}
            continue
        tensors[name] = {"rows": weight.shape[0], "columns": -(-weight.shape[1] // COLUMNS) * COLUMNS}
        values: NDArray[Any] = weight
        if precision == "int8":
            values, scales = quantize_rows(weight)
            tensors[name]["scales"] = _append(blob, scales)
        tensors[name]["at"] = _append(blob, np.pad(values, ((0, 0), (0, -weight.shape[1] % COLUMNS))))
    description = {
        "version": source.version,
        "precision": precision,
        "parameters": source.parameters,
        "architecture": asdict(source.architecture),
        "tensors": tensors,
    }
    return description, bytes(blob)


def _append(blob: bytearray, values: NDArray[Any]) -> int:
    """Append the bytes of an array at the next aligned offset, and return this offset."""
    blob += bytes(-len(blob) % ALIGNMENT)
    at = len(blob)
    blob += np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return at


def pack_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return everything that a SentencePiece model of this project contains, ready for JSON."""
    model = model_pb2.ModelProto.FromString(tokenizer.model)
    spec = model.trainer_spec
    kind_names = {number: name for name, number in model_pb2.ModelProto.SentencePiece.Type.items()}
    scores = np.array([piece.score for piece in model.pieces], dtype="<f4")
    return {
        "type": spec.ModelType.Name(spec.model_type).lower(),
        "tokens": [piece.piece for piece in model.pieces],
        "kinds": "".join(KINDS[kind_names[piece.type]] for piece in model.pieces),
        "scores": base64.b64encode(scores.tobytes()).decode(),
        "unknown": spec.unk_id,
        "begin": tokenizer.bos_id,
        "end": tokenizer.eos_id,
    }
