"""The tokenizer stage: reads the corpus, writes the tokenizer, the token files and their metrics."""

from __future__ import annotations

from array import array
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
from minimal_llm.tokenizer.token_files import DTYPE, SPLITS, Ids, Span, Split, TokenMeta, write_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer

PARAGRAPHS_PER_CALL = 512  # encoded in one call to SentencePiece


def build_tokens(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the tokenizer on the training split of the corpus, encode all splits and write everything.

    Raises:
        CorpusError: there is no corpus.
        TokenizerError: the corpus is empty or too small to split, or too small for a vocabulary of this size.
    """
    corpus = read_corpus(inputs)
    segments = split_documents(corpus.documents, config.split)
    check_splits(segments, config.split.block_bytes)
    tokenizer = train_tokenizer([p for s in segments if s.split == "train" for p in s.paragraphs], config.tokenizer)
    ids: dict[Split, Ids] = {}
    spans: dict[Split, tuple[Span, ...]] = {}
    size = sum(len(paragraph.encode()) + 1 for segment in segments for paragraph in segment.paragraphs)
    with tqdm(total=size, desc="encoding", unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for split in SPLITS:
            ids[split], spans[split] = encode_split(segments, split, tokenizer, bar.update)
    meta = TokenMeta(
        source=corpus.source,
        source_fallback=corpus.fallback,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        dtype="uint16",
        **spans,
    )
    metrics = _metrics(corpus.source, segments, ids, meta, tokenizer)
    write_bytes(outputs.tokenizer_model, tokenizer.model)
    write_text(outputs.tokenizer_vocab, tokenizer.vocabulary())
    write_tokens(outputs.tokens, meta, ids)
    write_json(outputs.tokenizer_metrics, metrics)
    print(
        f"corpus: {corpus.source}; {config.tokenizer.model_type} tokenizer, vocabulary of {tokenizer.vocab_size:,}; "
        + ", ".join(
            f"{name} {metrics[name]['bytes_per_token']:.2f} bytes/token" for name in LANGUAGES if name in metrics
        )
    )


def check_splits(segments: Sequence[Segment], block_bytes: int) -> None:
    """Raise TokenizerError if a split is empty, which means that the corpus has too few blocks."""
    for split in SPLITS:
        if not any(segment.split == split for segment in segments):
            size = sum(len(segment.text.encode()) for segment in segments)
            raise TokenizerError(
                f"the corpus ({size} bytes in blocks of split.block_bytes = {block_bytes}) is too small: "
                f"the {split} split would be empty",
                remedy="use a larger corpus, with paragraphs separated by blank lines, or a smaller split.block_bytes",
            )


def encode_split(
    segments: Sequence[Segment], split: Split, tokenizer: Tokenizer, advance: Callable[[int], object]
) -> tuple[Ids, tuple[Span, ...]]:
    """Return the token ids of a split and its language spans; `advance` receives the bytes done, for a progress bar."""
    ids = array("H")  # two bytes each: as Python's integers, the tokens of a char model would take forty
    spans = []
    for language in LANGUAGES:
        first, size = len(ids), 0
        for segment in (s for s in segments if s.split == split and s.language == language):
            ids.extend(_encode_segment(segment, tokenizer, advance))
            size += len(segment.text.encode())
        if len(ids) > first:
            spans.append(Span(language=language, first=first, tokens=len(ids) - first, bytes=size))
    return np.array(ids, dtype=DTYPE), tuple(spans)


def _encode_segment(segment: Segment, tokenizer: Tokenizer, advance: Callable[[int], object]) -> Iterator[int]:
    yield tokenizer.bos_id
    for start in range(0, len(segment.paragraphs), PARAGRAPHS_PER_CALL):
        batch = segment.paragraphs[start : start + PARAGRAPHS_PER_CALL]
        for number, ids in enumerate(tokenizer.encode_all(batch), start):
            if number:
                yield tokenizer.newline_id
            yield from ids
        advance(sum(len(paragraph.encode()) + 1 for paragraph in batch))
    yield tokenizer.eos_id


def _metrics(
    source: str, segments: Sequence[Segment], ids: dict[Split, Ids], meta: TokenMeta, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Return the content of metrics/tokenizer.json. Metrics per language are measured on the validation split."""
    metrics: dict[str, Any] = {
        "corpus": source,
        "vocab_size": tokenizer.vocab_size,
        "train_tokens": len(ids["train"]),
        "val_tokens": len(ids["val"]),
        "test_tokens": len(ids["test"]),
    }
    for span in meta.val:
        words = sum(len(s.text.split()) for s in segments if s.split == "val" and s.language == span.language)
        tokens = ids["val"][span.first : span.first + span.tokens].tolist()
        metrics[span.language] = {
            "bytes_per_token": span.bytes / span.tokens,
            "tokens_per_word": span.tokens / max(1, words),
            "unknown_rate": tokenizer.unknown_rate(tokens),
        }
    return metrics
