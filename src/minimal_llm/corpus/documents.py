"""A document: one book, one file or one story, cleaned."""

from __future__ import annotations

from dataclasses import dataclass

from minimal_llm.corpus.languages import Language


@dataclass(frozen=True)
class Document:
    """A cleaned text and where it came from.

    `paragraphs` hold no line ends and no leading or trailing blanks, and none is empty. `sha256` is that of the raw
    bytes, before decoding and cleaning.
    """

    id: str
    title: str
    author: str
    language: Language
    url: str
    sha256: str
    encoding: str
    paragraphs: tuple[str, ...]
