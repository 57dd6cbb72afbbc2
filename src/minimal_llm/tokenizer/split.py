"""The split into training, validation and test text. No text is in two, every longer document contributes to all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minimal_llm.common.config import SplitConfig
from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.token_files import Split


@dataclass(frozen=True)
class Segment:
    """Consecutive paragraphs of one document that belong to the same split."""

    split: Split
    language: Language
    paragraphs: tuple[str, ...]

    @property
    def size(self) -> int:
        """The bytes of the paragraphs in the corpus file, one per line."""
        return sum(len(paragraph.encode()) + 1 for paragraph in self.paragraphs)

    @property
    def text(self) -> str:
        """The paragraphs, one per line."""
        return "\n".join(self.paragraphs)


def split_documents(documents: Iterable[tuple[Language, tuple[str, ...]]], config: SplitConfig) -> Iterator[Segment]:
    """Yield the segments of all documents, in order.

    Each document is cut into blocks of consecutive paragraphs, of at least `block_bytes` each. Evenly spaced blocks of
    each language are validation and test text. The split is deterministic and uses no random numbers.
    """
    splits: dict[Language, Iterator[Split]] = {}
    for language, paragraphs in documents:
        own = splits.setdefault(language, _assign(config))
        # The blocks first: zip(own, ...) would take a split for a block that does not come.
        assigned = list(zip(_blocks(paragraphs, config.block_bytes), own, strict=False))
        for split, group in itertools.groupby(assigned, key=lambda pair: pair[1]):
            yield Segment(split, language, tuple(p for block, _ in group for p in block))


def _assign(config: SplitConfig) -> Iterator[Split]:
    """Yield the split of each block of a language.

    Test blocks are counted among those that are not validation text, which therefore does not depend on their number.
    """
    share = config.test_fraction / (1 - config.validation_fraction)
    others = 0
    for index in itertools.count(1):
        if int(index * config.validation_fraction) > int((index - 1) * config.validation_fraction):
            yield "val"
            continue
        others += 1  # half a step ahead, so that a test block does not always follow a validation block
        yield "test" if int(others * share + 0.5) > int((others - 1) * share + 0.5) else "train"


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
