"""The torch runtime behind generation: a model and its cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from minimal_llm.inference.sampling import Logits
from minimal_llm.model.transformer import KVCache, TinyTransformer


class TorchDecoder:
    """Reads tokens of B sequences of equal length and returns logits; see generation.Decoder."""

    def __init__(self, model: TinyTransformer) -> None:
        self._model = model
        # (C, V): a product of one row with it takes half the time that it takes with the (V, C) of the layer
        self._head = model.head.weight.detach().t().contiguous()
        self._cache = self._empty_cache(1)

    @property
    def context(self) -> int:
        """How many positions the model can see."""
        return self._model.architecture.max_seq_length

    @property
    def length(self) -> int:
        """How many positions are in the cache."""
        return self._cache.length

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Forget everything, read B sequences and return the (B, V) logits of what follows them."""
        self._cache = self._empty_cache(len(tokens))
        return self._read(torch.tensor(tokens))

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Read one more token of each sequence and return the (B, V) logits of what follows it."""
        return self._read(torch.tensor(tokens).unsqueeze(1))

    @torch.inference_mode()
    def _read(self, tokens: torch.Tensor) -> Logits:
        states = self._model.hidden(tokens.to(self._device), self._cache)[:, -1]  # (B, C)
        logits: Logits = (states @ self._head).cpu().numpy()
        return logits

    @property
    def _device(self) -> torch.device:
        return self._head.device

    def _empty_cache(self, batch_size: int) -> KVCache:
        return KVCache(self._model.architecture, batch_size, self._device)
