"""Text generation with any runtime: a stream of tokens, or of text, from a prompt.

Does not import torch: the decoder is `torch_decoder.TorchDecoder` or, without torch, `onnx_decoder.OnnxDecoder`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Protocol

from minimal_llm.inference.sampling import Logits, Sampler, Sampling
from minimal_llm.tokenizer.tokenizer import Tokenizer


class Decoder(Protocol):
    """A model with a KV cache, for a batch of B sequences of equal length."""

    @property
    def context(self) -> int:
        """The context length of the model, in positions."""

    @property
    def length(self) -> int:
        """The number of positions in the cache."""

    def start(self, tokens: Sequence[Sequence[int]]) -> Logits:
        """Clear the cache, read B sequences and return the next-token logits, (B, V)."""

    def advance(self, tokens: Sequence[int]) -> Logits:
        """Append one token to each sequence and return the next-token logits, (B, V)."""


def stream_tokens(decoder: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling) -> Iterator[list[int]]:
    """Yield the next token of each of B prompts of equal length, endlessly.

    Equal arguments give equal tokens. The model sees at most its context length: a longer prompt is cut at the
    beginning, and when the context is full, generation continues with its second half as the new prompt.
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
    """Yield the continuation of a prompt as it is generated, in whole characters: at most `tokens` (> 0) tokens."""
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
    """Return the continuation of a prompt, without the prompt: up to `tokens` tokens, or less if the text ends."""
    return "".join(stream_text(decoder, tokenizer, prompt, tokens, sampling)) if tokens else ""


class TextStream:
    """Decodes tokens to text one by one. Bytes of an incomplete UTF-8 character are held back until it is complete."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the text that one more token completes."""
        byte = self._tokenizer.byte_values.get(token)
        if byte is not None:
            return self._bytes.decode(bytes([byte]))
        return self.finish() + self._tokenizer.decode([token])

    def finish(self) -> str:
        """Return the rest: U+FFFD if bytes of an incomplete character are held back, otherwise nothing."""
        return self._bytes.decode(b"", final=True)


def decode_until_end(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return the text of tokens up to the first </s>."""
    text = TextStream(tokenizer)
    end = tokens.index(tokenizer.eos_id) if tokenizer.eos_id in tokens else len(tokens)
    return "".join(map(text.push, tokens[:end])) + text.finish()
