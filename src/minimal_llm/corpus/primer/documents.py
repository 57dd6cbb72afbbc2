"""The primer: an embedded corpus of short parallel stories that this package generates from a seed."""

from __future__ import annotations

from minimal_llm.common.files import sha256_of
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.primer.frames import load_frames
from minimal_llm.corpus.primer.writer import StoryWriter


def primer_documents(megabytes: float, seed: int) -> list[Document]:
    """Return `megabytes` (10**6 bytes) of stories, half in English and half in Spanish.

    The same seed gives the same bytes on every machine. The two versions of a story are half the corpus apart.
    """
    room: dict[Language, int] = dict.fromkeys(LANGUAGES, int(megabytes * 1e6 / len(LANGUAGES)))
    documents: dict[Language, list[Document]] = {language: [] for language in LANGUAGES}
    full: set[Language] = set()
    stories = StoryWriter(load_frames(), seed).stories()
    for number, story in enumerate(stories, start=1):
        for language in LANGUAGES:
            if language in full:
                continue
            text = "\n".join(story.paragraphs[language])
            content = text.encode("utf-8")
            if len(content) > room[language] and documents[language]:
                full.add(language)
                continue
            room[language] -= len(content)
            documents[language].append(
                Document(
                    id=f"primer-{number:05d}-{language}",
                    title=story.title[language],
                    author="minimal-llm",
                    language=language,
                    url="",
                    sha256=sha256_of(content),
                    encoding="utf-8",
                    paragraphs=story.paragraphs[language],
                )
            )
        if len(full) == len(LANGUAGES):
            break
    return _interleaved(documents["en"], documents["es"])


def _interleaved(english: list[Document], spanish: list[Document]) -> list[Document]:
    half = len(spanish) // 2
    turned = spanish[half:] + spanish[:half]
    both: list[Document] = []
    for index in range(max(len(english), len(turned))):
        both += english[index : index + 1] + turned[index : index + 1]
    return both
