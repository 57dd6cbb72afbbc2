"""The source `files`: the user's own text files, given as paths or glob patterns."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minimal_llm.common.errors import CorpusError
from minimal_llm.common.files import sha256_of, sha256_of_file, size_of
from minimal_llm.common.workers import map_in_order, processes_for
from minimal_llm.corpus.boilerplate import read_header
from minimal_llm.corpus.charset import decode
from minimal_llm.corpus.cleaning import clean_book, is_transcription, split_paragraphs
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.file_formats import FileFormat, binary_format, text_format
from minimal_llm.corpus.language_detection import Evidence, weigh_words
from minimal_llm.corpus.languages import Language

_LONG_LINE = 120  # characters; hard-wrapped text has shorter lines
_LONG_SHARE = 0.1
_MIN_PASSAGE = 2000  # characters; a passage in the other language this long becomes a separate document
PART_BYTES = 8_000_000  # larger files are read in parts of this size; hardly any book is larger
_REMEDY = "make train CORPUS=/path/to/text.txt (or download.files in params.yaml)"


@dataclass(frozen=True)
class _Part:
    """So many bytes of a file from `start` on, and the SHA-256 of the whole file; by default all of it."""

    path: Path
    start: int = 0
    size: int = -1
    sha256: str = ""


def read_documents(patterns: Sequence[str]) -> Iterator[Document]:
    """Yield the documents in the files, in the order of `expand`; several processes read them if they are large.

    The language is detected from the content. A file in both languages becomes several documents, one for each long
    passage in one language, and so does a file of more than PART_BYTES, of which only a part is in memory at a time. If
    the language is unclear, the one with more function words is used, with a warning. Files with traces of Project
    Gutenberg or its transcribers are cleaned as books.

    Raises:
        CorpusError: a file is missing, empty, undecodable, a directory or not plain text (HTML, PDF, JSON, a table),
            or changes while it is read; or a pattern matches no file.
    """
    names: dict[str, int] = {}
    paths = expand(patterns)
    parts = (part for path in paths for part in _parts(path))
    for documents in map_in_order(_documents, parts, processes_for(sum(map(size_of, paths)))):
        for document in documents:
            count = names[document.id] = names.get(document.id, 0) + 1
            yield replace(document, id=f"{document.id}#{count}") if count > 1 else document


def expand(patterns: Sequence[str]) -> list[Path]:
    """Return the files that paths and glob patterns refer to, each once: in the given order, matches sorted.

    `~` is the home directory, and `**` matches any number of directories. No file is read.

    Raises:
        CorpusError: a path is missing or a directory, or a pattern matches no file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        try:
            for path in _matches(pattern):
                found.setdefault(path.resolve(), path)
        except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such home, a NUL character
            raise CorpusError(f"'{pattern}' is not a valid path: {error}", remedy=_REMEDY) from error
    if not found:
        raise CorpusError("no text file given", remedy=_REMEDY)
    return list(found.values())


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        raise CorpusError(f"{pattern} is a directory", remedy=f"give the files in it: CORPUS='{path / '*.txt'}'")
    if path.is_file():  # checked before patterns: file names may contain brackets
        return [path]
    if path.exists():
        raise CorpusError(f"{pattern} is not a regular file", remedy=_REMEDY)
    if not glob.has_magic(pattern):
        raise CorpusError(f"{pattern} does not exist", remedy=_REMEDY)
    # Path.glob does not accept absolute patterns
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]  # noqa: PTH207
    if not files:
        raise CorpusError(f"the pattern {pattern} matches no file", remedy=_REMEDY)
    return files


def _parts(path: Path) -> Iterator[_Part]:
    """Yield the parts of a file, cut between paragraphs where there are blank lines."""
    try:
        if path.stat().st_size <= PART_BYTES:
            yield _Part(path)
            return
        sha256 = sha256_of_file(path)
        with path.open("rb") as stream:
            start = 0
            while content := stream.read(PART_BYTES):
                size = _cut(content)
                yield _Part(path, start, size, sha256)
                start += size
                stream.seek(start)
        if sha256_of_file(path) != sha256:
            raise CorpusError(
                f"{path} changed while it was read", remedy="the same command again, once nothing writes to it"
            )
    except OSError as error:
        raise _unreadable(path, error) from error


def _cut(content: bytes) -> int:
    """Return the size of a part: up to the last blank line, or else the last end of a line or word."""
    if len(content) < PART_BYTES:
        return len(content)
    for end in (rb"\n\r?\n", rb"\n", rb" "):
        if found := re.match(rb"(?s:.*)" + end, content):
            return found.end()
    return len(content)


def _read(part: _Part) -> bytes:
    try:
        with part.path.open("rb") as stream:
            stream.seek(part.start)
            return stream.read(part.size)
    except OSError as error:
        raise _unreadable(part.path, error) from error


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"{path} cannot be read: {error.strerror}", remedy=f"chmod u+r {path}")


def _documents(part: _Part) -> list[Document]:
    path, raw = part.path, _read(part)
    try:
        _refuse(binary_format(raw))
        text, encoding = decode(raw)
        _refuse(text_format(text))
        book = is_transcription(text)
        paragraphs = clean_book(text) if book else _paragraphs(text)
    except CorpusError as error:
        raise CorpusError(f"{path}: {error.message}", remedy=error.remedy, kind=error.kind) from error
    if not paragraphs and part.start == 0:
        raise CorpusError(f"{path} is empty: it contains no text", remedy=_REMEDY)
    header = read_header(text) if book else None
    return [
        Document(
            id=path.name,
            title=(header.title if header else "") or path.stem,
            author=", ".join(header.authors) if header else "",
            language=language,
            url=path.name,  # the full path is private and would make the manifest differ between machines
            sha256=part.sha256 or sha256_of(raw),
            encoding=encoding,
            paragraphs=passage,
        )
        for language, passage in _passages(path, paragraphs)
    ]


def _refuse(found: FileFormat | None) -> None:
    if found:
        raise CorpusError(f"not a plain text file but {found.name}", remedy=found.remedy)


def _paragraphs(text: str) -> list[str]:
    # Without blank lines, or with lines too long for hard-wrapped text, every line is a paragraph.
    paragraphs = split_paragraphs(text)
    lines = [line for line in (" ".join(line.split()) for line in text.split("\n")) if line]
    if len(paragraphs) <= 1 or sum(len(line) > _LONG_LINE for line in lines) > _LONG_SHARE * len(lines):
        return lines
    return paragraphs


def _passages(path: Path, paragraphs: Sequence[str]) -> list[tuple[Language, tuple[str, ...]]]:
    runs: list[tuple[Language | None, _Passage]] = []
    for paragraph in paragraphs:
        passage = _Passage([paragraph], weigh_words(paragraph), len(paragraph))
        language = passage.evidence.language
        if runs and (language is None or language == runs[-1][0]):
            runs[-1][1].extend(passage)
        elif runs and runs[-1][0] is None:
            runs[-1][1].extend(passage)  # a heading belongs to what follows it
            runs[-1] = (language, runs[-1][1])
        else:
            runs.append((language, passage))
    passages: list[_Passage] = []
    for _, run in runs:  # a quotation does not split a document
        if passages and min(run.length, passages[-1].length) < _MIN_PASSAGE:
            passages[-1].extend(run)
        else:
            passages.append(run)
    merged: list[tuple[Language, _Passage]] = []
    for passage in passages:
        language = passage.evidence.language or _larger(path, passage.evidence)
        if merged and merged[-1][0] == language:
            merged[-1][1].extend(passage)
        else:
            merged.append((language, passage))
    return [(language, tuple(passage.paragraphs)) for language, passage in merged]


@dataclass
class _Passage:
    """Consecutive paragraphs, what their words tell about the language, and how many characters they have."""

    paragraphs: list[str]
    evidence: Evidence
    length: int

    def extend(self, other: _Passage) -> None:
        """Append another passage."""
        self.paragraphs += other.paragraphs
        self.evidence += other.evidence
        self.length += other.length


def _larger(path: Path, evidence: Evidence) -> Language:
    """Return the language with more function words, with a warning."""
    shares = evidence.shares
    larger: Language = "en" if shares["en"] >= shares["es"] else "es"
    listed = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
    print(
        f"warning: {path.name}: the language is unclear (function words: {listed}); assuming '{larger}'",
        file=sys.stderr,
        flush=True,
    )
    return larger
