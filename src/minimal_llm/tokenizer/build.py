"""The tokenizer stage as one call: the corpus in, a tokenizer, token files and their metrics out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TokenizerError
from minimal_llm.common.files import write_bytes, write_json, write_text
from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.manifest import read_corpus
from minimal_llm.tokenizer.split import Segment, split_documents
from minimal_llm.tokenizer.token_files import DTYPE, SIDES, Ids, Side, Span, TokenMeta, write_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer


def build_tokens(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the tokenizer on the training side of the corpus, encode both sides, write all of it.

    Raises:
        CorpusError: there is no corpus.
        TokenizerError: the corpus is empty or too small to split, or cannot give a vocabulary of this size.
    """
    corpus = read_corpus(inputs)
    segments = split_documents(corpus.documents, config.split.validation_fraction, config.split.block_bytes)
    check_sides(segments, config.split.block_bytes)
    tokenizer = train_tokenizer([p for s in segments if s.side == "train" for p in s.paragraphs], config.tokenizer)
    ids: dict[Side, Ids] = {}
    spans: dict[Side, tuple[Span, ...]] = {}
    size = sum(len(paragraph.encode()) + 1 for segment in segments for paragraph in segment.paragraphs)
    with tqdm(total=size, desc="encoding", unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for side in SIDES:
            ids[side], spans[side] = encode_side(segments, side, tokenizer, bar.update)
    meta = TokenMeta(
        source=corpus.source,
        source_fallback=corpus.fallback,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        dtype="uint16",
        train=spans["train"],
        val=spans["val"],
    )
    metrics = _metrics(corpus.source, segments, ids, meta, tokenizer)
    write_bytes(outputs.tokenizer_model, tokenizer.model)
    write_text(outputs.tokenizer_vocab, tokenizer.vocabulary())
    write_tokens(outputs.tokens, meta, ids)
    write_json(outputs.tokenizer_metrics, metrics)
    print(
        f"corpus: {corpus.source}; {config.tokenizer.model_type} tokenizer of {tokenizer.vocab_size} pieces; "
        + "; ".join(
            f"{name}: {metrics[name]['bytes_per_token']:.2f} bytes a token" for name in LANGUAGES if name in metrics
        )
    )


def _metrics(
    source: str, segments: Sequence[Segment], ids: dict[Side, Ids], meta: TokenMeta, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Return metrics/tokenizer.json; the figures of a language are those of its validation side."""
    metrics: dict[str, Any] = {
        "corpus": source,
        "vocab_size": tokenizer.vocab_size,
        "train_tokens": len(ids["train"]),
        "val_tokens": len(ids["val"]),
    }
    for span in meta.val:
        words = sum(len(s.text.split()) for s in segments if s.side == "val" and s.language == span.language)
        tokens = ids["val"][span.first : span.first + span.tokens].tolist()
        metrics[span.language] = {
            "bytes_per_token": span.bytes / span.tokens,
            "tokens_per_word": span.tokens / max(1, words),
            "unknown_rate": tokenizer.unknown_rate(tokens),
        }
    return metrics


_BATCH = 512  # paragraphs encoded at a time


def encode_side(
    segments: Sequence[Segment], side: Side, tokenizer: Tokenizer, advance: Callable[[int], object]
) -> tuple[Ids, tuple[Span, ...]]:
    """Return the token ids of one side and its language spans; `advance` is told the bytes done, for a progress bar."""
    ids: list[int] = []
    spans = []
    for language in LANGUAGES:
        first, size = len(ids), 0
        for segment in (s for s in segments if s.side == side and s.language == language):
            ids += _encode_segment(segment, tokenizer, advance)
            size += len(segment.text.encode())
        if len(ids) > first:
            spans.append(Span(language=language, first=first, tokens=len(ids) - first, bytes=size))
    return np.array(ids, dtype=DTYPE), tuple(spans)


def check_sides(segments: Sequence[Segment], block_bytes: int) -> None:
    """Raise TokenizerError if a side has no text, which is so where the corpus has too few blocks to split."""
    for side in SIDES:
        if not any(segment.side == side for segment in segments):
            size = sum(len(segment.text.encode()) for segment in segments)
            raise TokenizerError(
                f"the corpus ({size} bytes in blocks of split.block_bytes = {block_bytes}) leaves nothing for {side}",
                remedy="use a larger corpus, with paragraphs separated by blank lines, or a smaller split.block_bytes",
            )


def _encode_segment(segment: Segment, tokenizer: Tokenizer, advance: Callable[[int], object]) -> Iterator[int]:
    yield tokenizer.bos_id
    for start in range(0, len(segment.paragraphs), _BATCH):
        batch = segment.paragraphs[start : start + _BATCH]
        for number, ids in enumerate(tokenizer.encode_all(batch), start):
            if number:
                yield tokenizer.newline_id
            yield from ids
        advance(sum(len(paragraph.encode()) + 1 for paragraph in batch))
    yield tokenizer.eos_id
