"""The split into a training and a validation side that share no text; both hold a part of every longer document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.token_files import Side


@dataclass(frozen=True)
class Segment:
    """Consecutive paragraphs of one document that are on one side."""

    side: Side
    language: Language
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs, a line each."""
        return "\n".join(self.paragraphs)


def split_documents(
    documents: Iterable[tuple[Language, tuple[str, ...]]], fraction: float, block_bytes: int
) -> list[Segment]:
    """Return the segments of all documents in order.

    Consecutive paragraphs form blocks of at least `block_bytes`, and `fraction` of the blocks of a language, evenly
    spaced over its documents, go to validation. It needs no random numbers.
    """
    counts: dict[Language, int] = {}
    segments: list[Segment] = []
    for language, paragraphs in documents:
        sided: list[tuple[Side, tuple[str, ...]]] = []
        for block in _blocks(paragraphs, block_bytes):
            index = counts[language] = counts.get(language, 0) + 1
            sided.append(("val" if int(index * fraction) > int((index - 1) * fraction) else "train", block))
        for side, group in groupby(sided, key=lambda pair: pair[0]):
            segments.append(Segment(side, language, tuple(p for _, block in group for p in block)))
    return segments


def _blocks(paragraphs: Iterable[str], block_bytes: int) -> Iterator[tuple[str, ...]]:
    block: list[str] = []
    size = 0
    for paragraph in paragraphs:
        block.append(paragraph)
        size += len(paragraph.encode()) + 1
        if size >= block_bytes:
            yield tuple(block)
            block, size = [], 0
    if block:
        yield tuple(block)
