"""The split into training and validation text. No text is in both, and every longer document contributes to both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.token_files import Split


@dataclass(frozen=True)
class Segment:
    """Consecutive paragraphs of one document that belong to the same split."""

    split: Split
    language: Language
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs, one per line."""
        return "\n".join(self.paragraphs)


def split_documents(
    documents: Iterable[tuple[Language, tuple[str, ...]]], fraction: float, block_bytes: int
) -> list[Segment]:
    """Return the segments of all documents, in order.

    Each document is cut into blocks of consecutive paragraphs, of at least `block_bytes` each. `fraction` of the
    blocks of each language, evenly spaced, are validation text. The split is deterministic and uses no random numbers.
    """
    counts: dict[Language, int] = {}
    segments: list[Segment] = []
    for language, paragraphs in documents:
        assigned: list[tuple[Split, tuple[str, ...]]] = []
        for block in _blocks(paragraphs, block_bytes):
            index = counts[language] = counts.get(language, 0) + 1
            assigned.append(("val" if int(index * fraction) > int((index - 1) * fraction) else "train", block))
        for split, group in groupby(assigned, key=lambda pair: pair[0]):
            segments.append(Segment(split, language, tuple(p for _, block in group for p in block)))
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
