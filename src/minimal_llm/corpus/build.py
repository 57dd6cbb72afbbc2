"""The download stage in one call: turns books, text files or the primer into a bilingual corpus and its manifest."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import DownloadConfig
from minimal_llm.common.errors import CorpusError, file_error
from minimal_llm.common.files import remove_leftovers, replacing, write_sealed
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.duplicates import Paragraphs
from minimal_llm.corpus.gutenberg import Library, NoMirrorReachable, mirrors_from_environment
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.manifest import CorpusManifest, DocumentEntry, Source
from minimal_llm.corpus.primer.documents import half_apart, primer_documents
from minimal_llm.corpus.text_files import read_documents

_MEGABYTE = 1_000_000
_NO_MIRROR = "no mirror of Project Gutenberg could be reached"


def build_corpus(
    config: DownloadConfig, seed: int, artifacts: Artifacts, *, library: Library | None = None
) -> CorpusManifest:
    """Write the corpus and its manifest, and return the manifest.

    The same texts give the same bytes on every machine. `library` supplies the books; by default they come from the
    mirrors in GUTENBERG_MIRRORS and the cache in `artifacts`. An existing corpus is only replaced once the new one is
    complete.

    Raises:
        ConfigurationError: GUTENBERG_MIRRORS is malformed.
        CorpusError: the source does not provide a corpus, or the corpus cannot be written.
    """
    try:
        artifacts.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=artifacts.root) as file:
            spool = _Spool(file, config.deduplicate)
            source, reason = _collect(config, seed, artifacts, library, spool)
            remove_leftovers(artifacts.corpus)
            with replacing(artifacts.corpus) as corpus:
                entries, sha256 = _compose(spool, corpus)
        sizes = {name: sum(entry.bytes for entry in entries if entry.language == name) for name in LANGUAGES}
        manifest = CorpusManifest(
            source=source,
            requested_source=config.source,
            fallback=source != config.source,
            reason=reason,
            bytes_per_language=sizes,
            total_bytes=sum(sizes.values()),
            corpus_sha256=sha256,
            repeated_paragraphs=spool.repeated,
            documents=tuple(entries),
        )
        write_sealed(artifacts.corpus_manifest, manifest.model_dump(mode="json", exclude_defaults=True))
    except OSError as error:
        raise file_error(error, CorpusError, artifacts.root) from error
    if spool.repeated:
        _say(f"  {spool.repeated:,} paragraphs came again and were dropped (download.deduplicate)")
    count = len(manifest.documents)
    _say(
        f"corpus: {manifest.source}, {count} document{'s' if count > 1 else ''}, "
        + ", ".join(f"{size / _MEGABYTE:.2f} MB {name}" for name, size in manifest.bytes_per_language.items())
    )
    return manifest


@dataclass(frozen=True)
class _Stored:
    """A document without its paragraphs, which are `paragraphs` lines of `size` bytes at `start` in the spool."""

    document: Document
    start: int
    paragraphs: int
    size: int


class _Spool:
    """The documents in the order they came, on disk: only their sizes are needed to find the order of the corpus."""

    def __init__(self, file: BinaryIO, deduplicate: bool) -> None:
        self._file = file
        self._deduplicate = deduplicate
        self.clear()

    def add(self, documents: Iterable[Document]) -> None:
        """Store documents, without repeated paragraphs if they are to be dropped."""
        for document in documents:
            paragraphs = self._paragraphs.new(document.paragraphs) if self._paragraphs else document.paragraphs
            if paragraphs:
                content = "".join(f"{paragraph}\n" for paragraph in paragraphs).encode("utf-8")
                bare = replace(document, paragraphs=())
                self.stored.append(_Stored(bare, self._file.tell(), len(paragraphs), len(content)))
                self._file.write(content)

    def read(self, stored: _Stored) -> bytes:
        """Return the lines of a document."""
        self._file.seek(stored.start)
        return self._file.read(stored.size)

    def clear(self) -> None:
        """Forget all documents."""
        self.stored: list[_Stored] = []
        self._paragraphs = Paragraphs() if self._deduplicate else None
        self._file.seek(0)

    @property
    def repeated(self) -> int:
        """The number of paragraphs that were dropped."""
        return self._paragraphs.repeated if self._paragraphs else 0


def _collect(
    config: DownloadConfig, seed: int, artifacts: Artifacts, library: Library | None, spool: _Spool
) -> tuple[Source, str]:
    """Store the documents; return where they are from, and why if that is not the configured source."""
    if config.source == "files":
        spool.add(read_documents(config.files))
        return "files", ""
    reason = ""
    if config.source == "gutenberg":
        try:
            with library or Library(mirrors_from_environment(), artifacts.raw_books) as opened:
                spool.add(_books(config, opened))
            return "gutenberg", ""
        except NoMirrorReachable as error:
            if not config.offline_fallback:
                raise
            spool.clear()
            _warn_of_fallback(error)
            reason = _NO_MIRROR
    spool.add(primer_documents(config.primer_megabytes, seed))
    spanish = half_apart([stored for stored in spool.stored if stored.document.language == "es"])
    spool.stored = [*(stored for stored in spool.stored if stored.document.language == "en"), *spanish]
    return "primer", reason


def _books(config: DownloadConfig, library: Library) -> Iterator[Document]:
    limit = round(config.megabytes_per_language * _MEGABYTE)
    lists: dict[Language, tuple[int, ...]] = {"en": config.books.en, "es": config.books.es}
    for language in LANGUAGES:
        yield from _books_of(language, lists[language], limit, library.book)


def _books_of(
    language: Language, numbers: Sequence[int], limit: int, book: Callable[[int, Language], Document]
) -> Iterator[Document]:
    size = 0
    for number in numbers:
        if size >= limit:
            return
        whole = book(number, language)
        kept = _cut(whole, limit - size, least=0 if size else 1)
        if kept.paragraphs:
            size += _size(kept)
            part = "" if kept == whole else ", shortened"
            _say(f"  {language} {number:>6}  {whole.title}, {whole.author} ({_size(kept) / _MEGABYTE:.2f} MB{part})")
            yield kept
        if kept != whole:
            return
    _say(
        f"  {language}: all listed books together have {size / _MEGABYTE:.2f} MB, less than "
        f"download.megabytes_per_language ({limit / _MEGABYTE:g})"
    )


def _cut(document: Document, limit: int, least: int) -> Document:
    # Keeps the paragraphs that fit into `limit` bytes, but always the first `least`.
    size = 0
    for number, paragraph in enumerate(document.paragraphs):
        size += _line_size(paragraph)
        if size > limit and number >= least:
            return replace(document, paragraphs=document.paragraphs[:number])
    return document


def _compose(spool: _Spool, corpus: BinaryIO) -> tuple[list[DocumentEntry], str]:
    """Write the corpus; return the entries of the manifest and the SHA-256 of the corpus."""
    entries: list[DocumentEntry] = []
    digest = hashlib.sha256()
    line = 1
    for stored in _interleaved(spool.stored):
        document = stored.document
        entries.append(
            DocumentEntry(
                id=document.id,
                title=document.title,
                author=document.author,
                language=document.language,
                url=document.url,
                encoding=document.encoding,
                sha256=document.sha256,
                first_line=line,
                last_line=line + stored.paragraphs - 1,
                paragraphs=stored.paragraphs,
                bytes=stored.size,
            )
        )
        content = (b"\n" if line > 1 else b"") + spool.read(stored)
        corpus.write(content)
        digest.update(content)
        line += stored.paragraphs + 1  # the blank line between two documents
    return entries, digest.hexdigest()


def _interleaved(documents: Sequence[_Stored]) -> Iterator[_Stored]:
    """Yield the documents in an order that keeps the proportion of the languages about the same throughout."""
    waiting = {name: deque(one for one in documents if one.document.language == name) for name in LANGUAGES}
    totals = {name: max(1, sum(one.size for one in waiting[name])) for name in LANGUAGES}
    written = dict.fromkeys(LANGUAGES, 0)
    for _ in documents:
        name = min((name for name in LANGUAGES if waiting[name]), key=lambda name: written[name] / totals[name])
        stored = waiting[name].popleft()
        written[name] += stored.size
        yield stored


def _size(document: Document) -> int:
    return sum(map(_line_size, document.paragraphs))


def _line_size(paragraph: str) -> int:
    return len(paragraph.encode("utf-8")) + 1


def _say(line: str) -> None:
    print(line, flush=True)


def _warn_of_fallback(error: NoMirrorReachable) -> None:
    rule = "!" * 100
    print(
        f"{rule}\nNO BOOKS: {error.message}\n\nUsing the embedded primer instead, because download.offline_fallback is "
        f"true. A model trained on it has not seen any book.\nTo train on books, check your network connection or set "
        f"GUTENBERG_MIRRORS=https://... to a mirror you can reach.\n{rule}",
        file=sys.stderr,
        flush=True,
    )
