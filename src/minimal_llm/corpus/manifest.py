"""corpus_bilingual.txt and corpus_manifest.json as the later stages read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.languages import LANGUAGES, Language

Source = Literal["gutenberg", "files", "primer"]
REMEDY = "dvc repro download"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentEntry(_Record):
    """A document of the corpus, and where it stands in the corpus file.

    Lines are counted from 1 and include both ends, a paragraph a line; `bytes` are those of its lines with their line
    ends, in UTF-8. `sha256` is that of the raw file. `url` names no folder and no mirror: it is the same everywhere.
    """

    id: str
    title: str
    author: str
    language: Language
    url: str
    encoding: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    first_line: int = Field(ge=1)
    last_line: int = Field(ge=1)
    paragraphs: int = Field(ge=1)
    bytes: int = Field(ge=1)


class CorpusManifest(_Record):
    """What the corpus is made of.

    `fallback` says that the primer took the place of `requested_source`, and `reason`, else empty, says why.
    """

    source: Source
    requested_source: Source
    fallback: bool
    reason: str
    bytes_per_language: dict[Language, int]
    total_bytes: int
    documents: tuple[DocumentEntry, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Corpus:
    """The text of the corpus: each document as its language and its paragraphs, in the order of the file."""

    source: Source
    fallback: bool
    documents: tuple[tuple[Language, tuple[str, ...]], ...]


def read_manifest(path: Path) -> CorpusManifest:
    """Return the manifest in a file.

    Raises:
        CorpusError: it is missing, or not a manifest of this version.
    """
    try:
        manifest = CorpusManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise CorpusError(f"there is no corpus: {path} is missing", remedy=REMEDY) from None
    except (OSError, ValidationError) as error:
        raise CorpusError(f"{path} cannot be used: {error}", remedy=REMEDY) from error
    if set(manifest.bytes_per_language) != set(LANGUAGES):
        raise CorpusError(f"{path} cannot be used: bytes_per_language lacks a language", remedy=REMEDY)
    return manifest


def read_corpus(artifacts: Artifacts) -> Corpus:
    """Return the corpus with the languages that its manifest gives.

    Raises:
        CorpusError: corpus or manifest is missing, or the one does not describe the other.
    """
    manifest = read_manifest(artifacts.corpus_manifest)
    try:
        text = artifacts.corpus.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise CorpusError(f"there is no corpus: {artifacts.corpus} is missing", remedy=REMEDY) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{artifacts.corpus} cannot be read: {error}", remedy=REMEDY) from error
    lines = text.split("\n")
    documents = []
    for entry in manifest.documents:
        paragraphs = tuple(lines[entry.first_line - 1 : entry.last_line])
        size = sum(len(paragraph.encode("utf-8")) + 1 for paragraph in paragraphs)
        if (len(paragraphs), size) != (entry.paragraphs, entry.bytes):
            raise CorpusError(
                f"{artifacts.corpus} is not the file that {artifacts.corpus_manifest} describes: lines "
                f"{entry.first_line} to {entry.last_line} hold {size} bytes, not the {entry.bytes} of '{entry.id}'",
                remedy=REMEDY,
            )
        documents.append((entry.language, paragraphs))
    return Corpus(manifest.source, manifest.fallback, tuple(documents))
