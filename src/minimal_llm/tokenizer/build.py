"""The tokenizer stage: reads the corpus, writes the tokenizer, the token files and their metrics."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from tqdm import tqdm

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, SplitConfig
from minimal_llm.common.errors import TokenizerError
from minimal_llm.common.files import write_bytes, write_json, write_text
from minimal_llm.common.workers import map_in_order, processes_for
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.manifest import Corpus, read_corpus
from minimal_llm.tokenizer.split import Segment, split_documents
from minimal_llm.tokenizer.token_files import (
    DTYPE,
    SPLITS,
    Ids,
    Span,
    Split,
    TokenMeta,
    TokenWriter,
    replacing_tokens,
)
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer

BATCH_BYTES = 1_000_000  # of text that a process encodes at a time
PARAGRAPHS_PER_CALL = 512  # encoded in one call to SentencePiece
SAMPLE_SEED = 0  # not that of the run: runs with different seeds are compared on the same tokens

Sizes = Mapping[tuple[Split, Language], int]  # bytes of text


@dataclass(frozen=True)
class Encoded:
    """The token ids of segments by split, the bytes of their text, and the words and unknown tokens for validation."""

    ids: Mapping[Split, Ids]
    sizes: Mapping[Split, int]
    words: int
    unknown: int


def build_tokens(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the tokenizer on the training split of the corpus, encode all splits and write everything.

    The corpus is read a document at a time, and the tokenizer learns from a sample if it is large.

    Raises:
        CorpusError: there is no corpus, or it changes meanwhile.
        TokenizerError: the corpus is empty or too small to split, or too small for a vocabulary of this size.
    """
    corpus = read_corpus(inputs)
    source = corpus.manifest.source
    sizes = measure_splits(corpus, config.split)
    shares = sample_shares(sizes, round(config.tokenizer.sample_megabytes * 1e6))
    tokenizer = train_tokenizer(list(training_sample(corpus, config.split, shares)), config.tokenizer)
    with replacing_tokens(outputs.tokens) as writer:
        spans, metrics = _encode_corpus(corpus, config.split, sizes, tokenizer, writer)
    meta = TokenMeta(
        source=source,
        source_fallback=corpus.manifest.fallback,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        dtype="uint16",
        **{split: tuple(spans[split]) for split in SPLITS},
    )
    write_bytes(outputs.tokenizer_model, tokenizer.model)
    write_text(outputs.tokenizer_vocab, tokenizer.vocabulary())
    writer.write_meta(outputs.tokens, meta)
    write_json(
        outputs.tokenizer_metrics,
        {
            "corpus": source,
            "vocab_size": tokenizer.vocab_size,
            **_sampling(sizes, shares),
            **{f"{split}_tokens": writer.tokens[split] for split in SPLITS},
            **metrics,
        },
    )
    print(
        f"corpus: {source}; {config.tokenizer.model_type} tokenizer, vocabulary of {tokenizer.vocab_size:,}; "
        + ", ".join(f"{name} {part['bytes_per_token']:.2f} bytes/token" for name, part in metrics.items())
    )


def measure_splits(corpus: Corpus, config: SplitConfig) -> Sizes:
    """Return the size of each language in each split, in bytes.

    Raises:
        TokenizerError: a split is empty, which means that the corpus has too few blocks.
    """
    sizes: Counter[tuple[Split, Language]] = Counter()
    for segment in split_documents(corpus.documents(), config):
        sizes[segment.split, segment.language] += segment.size
    for split in SPLITS:
        if not any(sizes[split, language] for language in LANGUAGES):
            raise TokenizerError(
                f"the corpus ({sizes.total()} bytes in blocks of split.block_bytes = {config.block_bytes}) is too "
                f"small: the {split} split would be empty",
                remedy="use a larger corpus, with paragraphs separated by blank lines, or a smaller split.block_bytes",
            )
    return sizes


def sample_shares(sizes: Sizes, limit: int) -> dict[Language, float]:
    """Return the share of the training text of each language that the tokenizer learns from: `limit` bytes in all.

    Half of them are of each language, or more if the other one has less. Without need for a sample, all shares are 1.
    """
    shares: dict[Language, float] = {}
    by_size = sorted(LANGUAGES, key=lambda language: sizes["train", language])
    for position, language in enumerate(by_size):
        size = max(1, sizes["train", language])
        used = min(size, limit / (len(by_size) - position))
        shares[language] = used / size
        limit -= round(used)
    return shares


def training_sample(corpus: Corpus, config: SplitConfig, shares: Mapping[Language, float]) -> Iterator[str]:
    """Yield random paragraphs of the training split, about `shares` of each language, and the same ones each time."""
    generator = random.Random(SAMPLE_SEED)  # noqa: S311  # not for security
    for segment in split_documents(corpus.documents(), config):
        if segment.split == "train":
            share = shares[segment.language]
            yield from (one for one in segment.paragraphs if share == 1 or generator.random() < share)


def _sampling(sizes: Sizes, shares: Mapping[Language, float]) -> dict[str, Any]:
    """Say that the tokenizer learned from a sample, and return it for the metrics; nothing if it did not."""
    if min(shares.values()) == 1:
        return {}
    used = sum(share * sizes["train", language] for language, share in shares.items())
    whole = sum(sizes["train", language] for language in shares)
    print(f"tokenizer: learned from a sample of {used / 1e6:.1f} of {whole / 1e6:.1f} MB (tokenizer.sample_megabytes)")
    return {"sample_megabytes": round(used / 1e6, 3)}


def _encode_corpus(
    corpus: Corpus, config: SplitConfig, sizes: Sizes, tokenizer: Tokenizer, writer: TokenWriter
) -> tuple[dict[Split, list[Span]], dict[Language, dict[str, float]]]:
    """Write the tokens of all splits; return their spans, and the metrics of each language on the validation split."""
    spans: dict[Split, list[Span]] = {split: [] for split in SPLITS}
    metrics: dict[Language, dict[str, float]] = {}
    encode = partial(encode_segments, tokenizer.model)
    processes = processes_for(corpus.manifest.total_bytes)
    with tqdm(total=sum(sizes.values()), desc="encoding", unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for language in LANGUAGES:
            first, done, words, unknown = dict(writer.tokens), Counter[Split](), 0, 0
            batches = _batches(split_documents(corpus.documents(language), config))
            for encoded in map_in_order(encode, batches, processes):
                for split, ids in encoded.ids.items():
                    writer.append(split, ids)
                done.update(encoded.sizes)
                words, unknown = words + encoded.words, unknown + encoded.unknown
                bar.update(sum(encoded.sizes.values()))
            for split in done:
                tokens = writer.tokens[split] - first[split]
                spans[split].append(Span(language=language, first=first[split], tokens=tokens, bytes=done[split]))
            if tokens := writer.tokens["val"] - first["val"]:
                metrics[language] = {
                    "bytes_per_token": done["val"] / tokens,
                    "tokens_per_word": tokens / max(1, words),
                    "unknown_rate": unknown / tokens,
                }
    return spans, metrics


def _batches(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        batch.append(segment)
        size += segment.size
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def encode_segments(model: bytes, segments: Sequence[Segment]) -> Encoded:
    """Return the token ids of segments, encoded with a serialized tokenizer."""
    tokenizer = _loaded(model)
    ids: dict[Split, array[int]] = {}  # two bytes each: as Python's integers, the tokens of a char model take forty
    sizes: Counter[Split] = Counter()
    words = 0
    for segment in segments:
        _encode(segment, tokenizer, ids.setdefault(segment.split, array("H")))
        sizes[segment.split] += segment.size - 1  # a newline follows each paragraph but the last
        words += len(segment.text.split()) if segment.split == "val" else 0
    arrays = {split: np.array(own, dtype=DTYPE) for split, own in ids.items()}
    unknown = tokenizer.unknown_tokens(arrays["val"]) if "val" in arrays else 0
    return Encoded(arrays, sizes, words, unknown)


def _encode(segment: Segment, tokenizer: Tokenizer, ids: array[int]) -> None:
    ids.append(tokenizer.bos_id)
    for start in range(0, len(segment.paragraphs), PARAGRAPHS_PER_CALL):
        batch = segment.paragraphs[start : start + PARAGRAPHS_PER_CALL]
        for number, encoded in enumerate(tokenizer.encode_all(batch), start):
            if number:
                ids.append(tokenizer.newline_id)
            ids.extend(encoded)
    ids.append(tokenizer.eos_id)


_loaded = lru_cache(maxsize=1)(Tokenizer)  # once per process, not per call
