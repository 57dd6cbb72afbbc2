"""The ONNX runtime behind generation: an exported model without torch in the process, for a small device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from minimal_llm.common.errors import ValidationError
from minimal_llm.inference.sampling import Logits


class OnnxDecoder:
    """Reads tokens of B sequences of equal length and returns logits; see generation.Decoder."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load an exported model.

        Raises:
            ValidationError: the file is no model that `minimal-llm export --format onnx` wrote.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.facts: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map["minimal_llm"])
        except Exception as error:  # onnxruntime has a class of its own for each way to fail
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValidationError(
                f"{path} is no model that this project exported: {reason}",
                remedy="minimal-llm export --format onnx writes one",
            ) from error
        shape = self.facts["architecture"]
        self.context: int = shape["max_seq_length"]
        self._empty = (shape["layers"], 2, shape["heads"], shape["d_model"] // shape["heads"])
        self._cache = self._empty_cache(1)

    @property
    def length(self) -> int:
        """How many positions are in the cache."""
        return int(self._cache.shape[4])

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Forget everything, read B sequences and return the (B, V) logits of what follows them."""
        self._cache = self._empty_cache(len(tokens))
        return self._read(np.array(tokens, dtype=np.int64))

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Read one more token of each sequence and return the (B, V) logits of what follows it."""
        return self._read(np.array(tokens, dtype=np.int64)[:, None])

    def _read(self, tokens: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Logits:
        logits: Logits
        logits, self._cache = self._session.run(None, {"tokens": tokens, "past": self._cache})
        return logits

    def _empty_cache(self, batch_size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        layers, two, heads, size = self._empty
        return np.zeros((layers, two, batch_size, heads, 0, size), np.float32)
