"""Decoder that runs a model with torch; see generation.Decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from minimal_llm.inference.sampling import Logits
from minimal_llm.model.transformer import KVCache, TinyTransformer


class TorchDecoder:
    """A TinyTransformer and its KV cache."""

    def __init__(self, model: TinyTransformer) -> None:
        self._model = model
        # (C, V): a matmul with a single row takes half the time that it takes with the (V, C) weights of the layer
        self._head = model.output_weight.detach().t().contiguous()
        self._cache = self._empty_cache(1)

    @property
    def context(self) -> int:
        """The context length of the model, in positions."""
        return self._model.architecture.max_seq_length

    @property
    def length(self) -> int:
        """The number of positions in the cache."""
        return self._cache.length

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Clear the cache, read B sequences and return the next-token logits, (B, V)."""
        self._cache = self._empty_cache(len(tokens))
        return self._logits(torch.tensor(tokens))

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Append one token to each sequence and return the next-token logits, (B, V)."""
        return self._logits(torch.tensor(tokens).unsqueeze(1))

    @torch.inference_mode()
    def _logits(self, tokens: torch.Tensor) -> Logits:
        hidden = self._model.hidden(tokens.to(self._head.device), self._cache)[:, -1]  # (B, C)
        logits: Logits = (hidden @ self._head).cpu().numpy()
        return logits

    def _empty_cache(self, batch_size: int) -> KVCache:
        return KVCache(self._model.architecture, batch_size, self._head.device)
