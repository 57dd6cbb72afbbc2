"""The primer: an embedded corpus of short parallel stories that this package generates from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from minimal_llm.common.files import sha256_of
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.primer.frames import load_frames
from minimal_llm.corpus.primer.writer import StoryWriter

Item = TypeVar("Item")


def primer_documents(megabytes: float, seed: int) -> Iterator[Document]:
    """Yield `megabytes` (10**6 bytes) of stories, half in English and half in Spanish.

    The same seed gives the same bytes on every machine. The two versions of a story follow one another.
    """
    room: dict[Language, int] = dict.fromkeys(LANGUAGES, int(megabytes * 1e6 / len(LANGUAGES)))
    full: set[Language] = set()
    stories = StoryWriter(load_frames(), seed).stories()
    for number, story in enumerate(stories, start=1):
        for language in LANGUAGES:
            if language in full:
                continue
            text = "\n".join(story.paragraphs[language])
            content = text.encode("utf-8")
            if len(content) > room[language] and number > 1:
                full.add(language)
                continue
            room[language] -= len(content)
            yield Document(
                id=f"primer-{number:05d}-{language}",
                title=story.title[language],
                author="minimal-llm",
                language=language,
                url="",
                sha256=sha256_of(content),
                encoding="utf-8",
                paragraphs=story.paragraphs[language],
            )
        if len(full) == len(LANGUAGES):
            break


def half_apart(spanish: Sequence[Item]) -> list[Item]:
    """Return the Spanish stories in an order that puts the two versions of a story half the corpus apart."""
    half = len(spanish) // 2
    return [*spanish[half:], *spanish[:half]]
