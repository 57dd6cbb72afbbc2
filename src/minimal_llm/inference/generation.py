"""Text from a model, whatever computes it: prompts in, a stream of tokens or of whole characters out.

Knows nothing of torch: `decoder.TorchDecoder` computes with torch, `device.OnnxDecoder` without.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Protocol

from minimal_llm.inference.sampling import Logits, Sampler, Sampling
from minimal_llm.tokenizer.tokenizer import Tokenizer


class Decoder(Protocol):
    """A model with a cache of the positions that it has seen, for B sequences of equal length."""

    @property
    def context(self) -> int:
        """How many positions it can see."""

    @property
    def length(self) -> int:
        """How many it has seen."""

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Forget everything, read B sequences and return the (B, V) logits of what follows them."""

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Read one more token of each sequence and return the (B, V) logits of what follows it."""


def stream_tokens(decoder: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling) -> Iterator[list[int]]:
    """Yield the next token of each of B prompts of equal length, again and again, without end.

    Equal arguments give equal tokens. The model sees at most its context: of a longer prompt the end is read, and when
    the context is full, its later half is read anew and serves on.
    """
    samplers = [Sampler(sampling, stream) for stream in range(len(prompts))]
    seen = [list(prompt[-decoder.context :]) for prompt in prompts]
    logits = decoder.start(seen)
    while True:
        tokens = [sampler.choose(row, tokens) for sampler, row, tokens in zip(samplers, logits, seen, strict=True)]
        yield tokens
        for row, token in zip(seen, tokens, strict=True):
            row.append(token)
        if decoder.length < decoder.context:
            logits = decoder.advance(tokens)
        else:
            seen = [row[-(decoder.context // 2) :] for row in seen]
            logits = decoder.start(seen)


def stream_text(decoder: Decoder, tokenizer: Tokenizer, prompt: str, tokens: int, sampling: Sampling) -> Iterator[str]:
    """Yield the continuation of a prompt piece by piece, in whole characters: at most `tokens` tokens of it."""
    text = TextStream(tokenizer)
    ids = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    for number, (token,) in enumerate(stream_tokens(decoder, [ids], sampling), start=1):
        if token == tokenizer.eos_id:
            break
        yield text.push(token)
        if number == tokens:
            break
    yield text.finish()


def generate(decoder: Decoder, tokenizer: Tokenizer, prompt: str, tokens: int, sampling: Sampling) -> str:
    """Return the continuation of a prompt, without it: at most `tokens` tokens, less where the text ends."""
    return "".join(stream_text(decoder, tokenizer, prompt, tokens, sampling)) if tokens else ""


class TextStream:
    """Token ids in, text out, never half a character: a byte waits for those that complete it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that is complete with one more token."""
        byte = self._tokenizer.byte_values.get(token)
        if byte is not None:
            return self._bytes.decode(bytes([byte]))
        return self.finish() + self._tokenizer.decode([token])

    def finish(self) -> str:
        """Return what is left: U+FFFD for bytes that nothing completed, or nothing."""
        return self._bytes.decode(b"", final=True)


def text_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return the text of some tokens up to the first </s>."""
    text = TextStream(tokenizer)
    end = tokens.index(tokenizer.eos_id) if tokenizer.eos_id in tokens else len(tokens)
    return "".join(map(text.push, tokens[:end])) + text.finish()
