"""One text, or several at once, from a prompt: streamed, filtered and measured."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from minimal_llm.common.errors import BlockedError
from minimal_llm.common.system import peak_memory_mb
from minimal_llm.inference.generation import TextStream, stream_tokens
from minimal_llm.inference.latency import percentile
from minimal_llm.inference.runtime import Runtime
from minimal_llm.inference.safety.filter import SafeStream, SafetyFilter
from minimal_llm.inference.sampling import Sampling


@dataclass
class Timing:
    """How long the prompt and each token took, in seconds."""

    prompt_tokens: int
    context: int
    prefill_seconds: float = 0.0
    token_seconds: list[float] = field(default_factory=list)
    streams: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return the metrics: tokens/s, latencies in ms, memory in MB."""
        decode, count = sum(self.token_seconds), len(self.token_seconds)
        return {
            "prompt_tokens": self.prompt_tokens,
            "prefill_tokens_per_s": round(min(self.prompt_tokens, self.context) / self.prefill_seconds, 1),
            "decode_tokens": count * self.streams,
            "decode_tokens_per_s": round(count * self.streams / decode, 1) if decode else 0.0,
            "latency_p50_ms": round(1000 * percentile(self.token_seconds, 50), 3) if count else 0.0,
            "latency_p95_ms": round(1000 * percentile(self.token_seconds, 95), 3) if count else 0.0,
            "peak_mb": round(peak_memory_mb(), 1),
        }

    def summary(self) -> str:
        """Return the metrics as one line."""
        metrics = self.as_json()
        cut = ""
        if self.prompt_tokens > self.context:
            cut = f"the prompt has {self.prompt_tokens} tokens; the model reads only the last {self.context}\n"
        return (
            f"{cut}[prompt {metrics['prompt_tokens']} tokens, {metrics['prefill_tokens_per_s']:,.0f} tokens/s; "
            f"text {metrics['decode_tokens']} tokens, {metrics['decode_tokens_per_s']:,.0f} tokens/s, "
            f"p50 {metrics['latency_p50_ms']:.2f} ms, p95 {metrics['latency_p95_ms']:.2f} ms; "
            f"peak {metrics['peak_mb']:.0f} MB]"
        )


@dataclass(frozen=True)
class Written:
    """Texts without their prompt, why each ended (length, end or blocked), and how long they took."""

    prompt: str
    texts: list[str]
    reasons: list[str]
    sampling: Sampling
    timing: Timing

    def as_json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {
            "prompt": self.prompt,
            "samples": [
                {"text": text, "finish_reason": reason} for text, reason in zip(self.texts, self.reasons, strict=True)
            ],
            "sampling": asdict(self.sampling),
            "stats": self.timing.as_json(),
        }

    def summary(self) -> str:
        """Return a notice of blocked texts, the metrics and the seed, for stderr."""
        blocked = self.reasons.count("blocked")
        texts = "1 text" if blocked == 1 else f"{blocked} texts"
        notice = f"{texts} stopped by the safety filter (docs/SAFETY.md; --no-safety)\n" if blocked else ""
        return f"{notice}{self.timing.summary()} [seed {self.sampling.seed}]"


def write(runtime: Runtime, prompt: str, tokens: int, sampling: Sampling, stream: TextIO, *, safe: bool) -> Written:
    """Continue a prompt, writing prompt and continuation to `stream` as they come.

    Raises:
        BlockedError: the safety filter refuses the prompt.
    """
    writer = _Writer(runtime, prompt, tokens, sampling, 1, safe=safe)
    stream.write(prompt)
    for (part,) in writer.parts():
        stream.write(part)
        stream.flush()
    stream.write("\n")
    return writer.written()


def write_many(runtime: Runtime, prompt: str, tokens: int, sampling: Sampling, count: int, *, safe: bool) -> Written:
    """Continue a prompt several times at once. Raises as `write`."""
    writer = _Writer(runtime, prompt, tokens, sampling, count, safe=safe)
    for _ in writer.parts():
        pass
    return writer.written()


@functools.cache
def _rules() -> SafetyFilter:
    return SafetyFilter.load()  # takes a quarter of a second: once per process, not per prompt


def _refuse_unsafe(prompt: str, rules: SafetyFilter | None) -> None:
    violation = rules.check(prompt) if rules is not None else None
    if violation is not None:
        raise BlockedError(
            f"the safety filter blocks this prompt ({violation.category}): {prompt[violation.start : violation.end]!r}",
            remedy="use another prompt; docs/SAFETY.md has the policy, and --no-safety turns the filter off",
        )


class _Text:
    """One text as it grows: held back while it could still become something to block, ended when it must."""

    def __init__(self, runtime: Runtime, prompt: str, rules: SafetyFilter | None) -> None:
        self.shown: list[str] = []
        self.reason: str | None = None
        self._end = runtime.tokenizer.eos_id
        self._characters = TextStream(runtime.tokenizer)
        self._safe = None if rules is None else SafeStream(rules, prompt)

    def push(self, token: int) -> str:
        """Return what may be shown after one more token."""
        if self.reason is not None:
            return ""
        if token == self._end:
            return self.finish("end")
        return self._show(self._characters.push(token))

    def finish(self, reason: str) -> str:
        """Return the rest, unless the text has ended."""
        if self.reason is not None:
            return ""
        shown = self._show(self._characters.finish(), last=True)
        self.reason = self.reason or reason
        return shown

    def _show(self, text: str, *, last: bool = False) -> str:
        if self._safe is not None:
            text = self._safe.feed(text) + (self._safe.finish() if last else "")
            if self._safe.blocked is not None:
                self.reason = "blocked"
        self.shown.append(text)
        return text


class _Writer:
    """Several texts from one prompt, a token of each at a time."""

    def __init__(
        self, runtime: Runtime, prompt: str, tokens: int, sampling: Sampling, count: int, *, safe: bool
    ) -> None:
        rules = _rules() if safe else None
        _refuse_unsafe(prompt, rules)
        ids = [runtime.tokenizer.bos_id, *runtime.tokenizer.encode(prompt)]
        self._prompt, self._sampling, self._tokens = prompt, sampling, tokens
        self._texts = [_Text(runtime, prompt, rules) for _ in range(count)]
        self._stream = stream_tokens(runtime.decoder, [ids] * count, sampling)
        self._timing = Timing(len(ids), runtime.decoder.context, streams=count)

    def parts(self) -> Iterator[list[str]]:
        """Yield the new part of each text after each token, until all have ended."""
        for number in range(self._tokens):
            started = time.perf_counter()
            tokens = next(self._stream)
            seconds = time.perf_counter() - started
            if number == 0:
                self._timing.prefill_seconds = seconds
            else:
                self._timing.token_seconds.append(seconds)
            yield [text.push(token) for text, token in zip(self._texts, tokens, strict=True)]
            if all(text.reason for text in self._texts):
                break
        yield [text.finish("length") for text in self._texts]

    def written(self) -> Written:
        """Return the texts and their metrics."""
        reasons = [text.reason or "length" for text in self._texts]
        return Written(
            self._prompt, ["".join(text.shown) for text in self._texts], reasons, self._sampling, self._timing
        )
