"""Text from a model: sampling with a KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minimal_llm.model import KVCache, TinyTransformer
from minimal_llm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy; `top_k` keeps that many candidates (0: all)."""

    temperature: float = 0.8
    top_k: int = 40
    seed: int = 0


def generate(model: TinyTransformer, tokenizer: Tokenizer, prompt: str, tokens: int, sampling: Sampling) -> str:
    """Return the continuation of a prompt, without it: at most `tokens` tokens, less where the text ends."""
    ids = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    produced: list[int] = []
    for token in stream_tokens(model, ids, sampling):
        if token == tokenizer.eos_id or len(produced) == tokens:
            break
        produced.append(token)
    return tokenizer.decode(produced)


@torch.inference_mode()
def stream_tokens(model: TinyTransformer, prompt: list[int], sampling: Sampling) -> Iterator[int]:
    """Yield one next token after another, without end. Equal arguments give equal tokens.

    The model sees at most its context length. When that is full, the later half of it is read anew and serves on.
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    limit = model.architecture.max_seq_length
    seen = list(prompt[-limit:])
    cache = KVCache(model.architecture)
    logits = model(torch.tensor([seen]), cache)
    while True:
        token = choose(logits[0], sampling, generator)
        yield token
        seen.append(token)
        if cache.length == limit:
            seen = seen[-(limit // 2) :]
            cache = KVCache(model.architecture)
            logits = model(torch.tensor([seen]), cache)
        else:
            logits = model(torch.tensor([[token]]), cache)


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Return the id of the next token, drawn from (V,) logits."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = logits / sampling.temperature
    if 0 < sampling.top_k < len(scaled):
        smallest_kept = torch.topk(scaled, sampling.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < smallest_kept, -torch.inf)
    return int(torch.multinomial(torch.softmax(scaled, dim=-1), 1, generator=generator))
