"""Decoder that runs an exported model with ONNX Runtime, for small devices without torch; see generation.Decoder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# ONNX Runtime reports its use to its maker, with an identifier of the device, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from minimal_llm.common.errors import ValidationError
from minimal_llm.inference.onnx_checksum import check
from minimal_llm.inference.sampling import Logits


class OnnxDecoder:
    """An exported model and its KV cache."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load an exported model.

        Raises:
            ValidationError: the file is damaged, or was not written by `minimal-llm export --format onnx`.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            check(path)
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.metadata: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map["minimal_llm"])
            architecture = self.metadata["architecture"]
            self.context: int = architecture["max_seq_length"]
            self._layers, self._heads = architecture["layers"], architecture["heads"]
            self._head_size = architecture["d_model"] // self._heads
        except Exception as error:  # onnxruntime raises a different class for every kind of failure
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValidationError(
                f"{path} is damaged or not a model exported by this project: {reason}",
                remedy="minimal-llm export --format onnx writes one",
            ) from error
        self._cache = self._empty_cache(1)

    @property
    def length(self) -> int:
        """The number of positions in the cache."""
        return int(self._cache.shape[4])

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Clear the cache, read B sequences and return the next-token logits, (B, V)."""
        self._cache = self._empty_cache(len(tokens))
        return self._logits(np.array(tokens, dtype=np.int64))

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Append one token to each sequence and return the next-token logits, (B, V)."""
        return self._logits(np.array(tokens, dtype=np.int64)[:, None])

    def _logits(self, tokens: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Logits:
        logits: Logits
        logits, self._cache = self._session.run(None, {"tokens": tokens, "past": self._cache})
        return logits

    def _empty_cache(self, batch_size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the cache of no positions; its 2 is for keys and values."""
        return np.zeros((self._layers, 2, batch_size, self._heads, 0, self._head_size), np.float32)
