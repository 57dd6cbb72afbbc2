"""Reads corpus_bilingual.txt and corpus_manifest.json for the later stages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import CorpusError
from minimal_llm.common.files import read_sealed, sha256_of_file
from minimal_llm.corpus.languages import LANGUAGES, Language

Source = Literal["gutenberg", "files", "primer"]
REMEDY = "dvc repro download"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentEntry(_Record):
    """A document and its position in the corpus file.

    Each paragraph is one line. `first_line` and `last_line` are 1-based and inclusive; `bytes` is the size of these
    lines in UTF-8, line endings included. `sha256` is the hash of the raw file. `url` names neither a local folder nor
    a mirror, so it is the same on every machine.
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
    """The contents of the corpus.

    `fallback` is true if the primer was used instead of `requested_source`; `reason` then tells why, and is otherwise
    empty. `corpus_sha256` is the hash of the corpus file.
    """

    source: Source
    requested_source: Source
    fallback: bool
    reason: str
    bytes_per_language: dict[Language, int]
    total_bytes: int
    corpus_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    documents: tuple[DocumentEntry, ...] = Field(min_length=1)
    repeated_paragraphs: int = 0  # that were dropped; absent from the file if there are none


@dataclass(frozen=True)
class Corpus:
    """The corpus on disk, which is as its manifest says."""

    path: Path
    manifest: CorpusManifest
    state: tuple[int, ...]  # of the file, when it was checked

    def documents(self, language: Language | None = None) -> Iterator[tuple[Language, tuple[str, ...]]]:
        """Yield language and paragraphs of each document, in file order: of all documents or those in a language.

        Only one document is in memory at a time.

        Raises:
            CorpusError: the file cannot be read, or has changed since it was checked.
        """
        start = 0
        try:
            with self.path.open("rb") as stream:
                for entry in self.manifest.documents:
                    if language in (None, entry.language):
                        stream.seek(start)
                        yield entry.language, _lines(stream.read(entry.bytes), entry)
                    start += entry.bytes + 1  # the blank line between two documents
                if _state(stream.fileno()) != self.state:
                    raise ValueError("it has changed meanwhile")
        except (OSError, ValueError) as error:
            raise CorpusError(f"{self.path} cannot be read: {error}", remedy=REMEDY) from error


def read_manifest(path: Path) -> CorpusManifest:
    """Return the manifest stored in a file.

    Raises:
        CorpusError: the file is missing, damaged, or not a manifest of this version.
    """
    try:
        manifest = CorpusManifest.model_validate(read_sealed(path))
    except FileNotFoundError:
        raise CorpusError(f"there is no corpus: {path} is missing", remedy=REMEDY) from None
    except (OSError, ValueError) as error:  # that of pydantic is one too
        raise CorpusError(f"{path} is not a valid manifest: {error}", remedy=REMEDY) from error
    if set(manifest.bytes_per_language) != set(LANGUAGES):
        raise CorpusError(f"{path} is not a valid manifest: bytes_per_language lacks a language", remedy=REMEDY)
    return manifest


def read_corpus(artifacts: Artifacts) -> Corpus:
    """Return the corpus, after a check of the whole file.

    Raises:
        CorpusError: the corpus or its manifest is missing, or they do not match.
    """
    manifest = read_manifest(artifacts.corpus_manifest)
    try:
        state = _state(artifacts.corpus)
        sha256 = sha256_of_file(artifacts.corpus)
    except FileNotFoundError:
        raise CorpusError(f"there is no corpus: {artifacts.corpus} is missing", remedy=REMEDY) from None
    except OSError as error:
        raise CorpusError(f"{artifacts.corpus} cannot be read: {error}", remedy=REMEDY) from error
    if sha256 != manifest.corpus_sha256:
        raise CorpusError(
            f"{artifacts.corpus} does not match {artifacts.corpus_manifest}: its hash is not the one recorded there",
            remedy=REMEDY,
        )
    return Corpus(artifacts.corpus, manifest, state)


def _state(file: Path | int) -> tuple[int, ...]:
    found = os.stat(file)  # noqa: PTH116  # Path has no fstat
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lines(content: bytes, entry: DocumentEntry) -> tuple[str, ...]:
    *lines, rest = content.decode("utf-8").split("\n")
    if rest or (len(content), len(lines)) != (entry.bytes, entry.paragraphs):
        raise ValueError(
            f"'{entry.id}' has {len(lines)} lines and {len(content)} bytes, not {entry.paragraphs} and {entry.bytes}"
        )
    return tuple(lines)
