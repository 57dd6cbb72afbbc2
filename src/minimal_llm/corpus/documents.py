"""A document of the corpus: a cleaned book, file or story."""

from __future__ import annotations

from dataclasses import dataclass

from minimal_llm.corpus.languages import Language


@dataclass(frozen=True)
class Document:
    """A cleaned text and its origin.

    `paragraphs` contain no line breaks and no leading or trailing whitespace, and none is empty. `sha256` is the hash
    of the raw bytes, before decoding and cleaning.
    """

    id: str
    title: str
    author: str
    language: Language
    url: str
    sha256: str
    encoding: str
    paragraphs: tuple[str, ...]
