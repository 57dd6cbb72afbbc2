"""The download stage in one call: turns books, text files or the primer into a bilingual corpus and its manifest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import DownloadConfig
from minimal_llm.common.errors import CorpusError, file_error
from minimal_llm.common.files import sha256_of, write_sealed, write_text
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.gutenberg import Library, NoMirrorReachable, mirrors_from_environment
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.manifest import CorpusManifest, DocumentEntry, Source
from minimal_llm.corpus.primer.documents import primer_documents
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
        source, reason, documents = _collect(config, seed, artifacts, library)
        text, manifest = _compose(documents, source, config.source, reason)
        write_text(artifacts.corpus, text)
        write_sealed(artifacts.corpus_manifest, manifest.model_dump(mode="json"))
    except OSError as error:
        raise file_error(error, CorpusError, artifacts.root) from error
    count = len(manifest.documents)
    _say(
        f"corpus: {manifest.source}, {count} document{'s' if count > 1 else ''}, "
        + ", ".join(f"{size / _MEGABYTE:.2f} MB {name}" for name, size in manifest.bytes_per_language.items())
    )
    return manifest


def _collect(
    config: DownloadConfig, seed: int, artifacts: Artifacts, library: Library | None
) -> tuple[Source, str, list[Document]]:
    if config.source == "files":
        return "files", "", read_documents(config.files)
    if config.source == "primer":
        return "primer", "", primer_documents(config.primer_megabytes, seed)
    try:
        with library or Library(mirrors_from_environment(), artifacts.raw_books) as opened:
            return "gutenberg", "", _books(config, opened)
    except NoMirrorReachable as error:
        if not config.offline_fallback:
            raise
        _warn_of_fallback(error)
        return "primer", _NO_MIRROR, primer_documents(config.primer_megabytes, seed)


def _books(config: DownloadConfig, library: Library) -> list[Document]:
    limit = round(config.megabytes_per_language * _MEGABYTE)
    lists: dict[Language, tuple[int, ...]] = {"en": config.books.en, "es": config.books.es}
    return [
        document for language in LANGUAGES for document in _books_of(language, lists[language], limit, library.book)
    ]


def _books_of(
    language: Language, numbers: Sequence[int], limit: int, book: Callable[[int, Language], Document]
) -> list[Document]:
    documents: list[Document] = []
    size = 0
    for number in numbers:
        if size >= limit:
            return documents
        whole = book(number, language)
        kept = _cut(whole, limit - size, least=0 if documents else 1)
        if kept.paragraphs:
            size += _size(kept)
            documents.append(kept)
            part = "" if kept == whole else ", shortened"
            _say(f"  {language} {number:>6}  {whole.title}, {whole.author} ({_size(kept) / _MEGABYTE:.2f} MB{part})")
        if kept != whole:
            return documents
    _say(
        f"  {language}: all listed books together have {size / _MEGABYTE:.2f} MB, less than "
        f"download.megabytes_per_language ({limit / _MEGABYTE:g})"
    )
    return documents


def _cut(document: Document, limit: int, least: int) -> Document:
    # Keeps the paragraphs that fit into `limit` bytes, but always the first `least`.
    size = 0
    for number, paragraph in enumerate(document.paragraphs):
        size += _line_size(paragraph)
        if size > limit and number >= least:
            return replace(document, paragraphs=document.paragraphs[:number])
    return document


def _compose(
    documents: Sequence[Document], source: Source, requested: Source, reason: str
) -> tuple[str, CorpusManifest]:
    entries: list[DocumentEntry] = []
    texts: list[str] = []
    line = 1
    for document in _interleaved(documents):
        count = len(document.paragraphs)
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
                last_line=line + count - 1,
                paragraphs=count,
                bytes=_size(document),
            )
        )
        texts.append("".join(f"{paragraph}\n" for paragraph in document.paragraphs))
        line += count + 1  # the blank line between two documents
    sizes = {language: sum(entry.bytes for entry in entries if entry.language == language) for language in LANGUAGES}
    text = "\n".join(texts)
    manifest = CorpusManifest(
        source=source,
        requested_source=requested,
        fallback=source != requested,
        reason=reason,
        bytes_per_language=sizes,
        total_bytes=sum(sizes.values()),
        corpus_sha256=sha256_of(text.encode("utf-8")),
        documents=tuple(entries),
    )
    return text, manifest


def _interleaved(documents: Sequence[Document]) -> list[Document]:
    """Return the documents in an order that keeps the proportion of the languages about the same throughout."""
    waiting = {name: [document for document in documents if document.language == name] for name in LANGUAGES}
    totals = {name: max(1, sum(map(_size, waiting[name]))) for name in LANGUAGES}
    written = dict.fromkeys(LANGUAGES, 0)
    ordered: list[Document] = []
    for _ in documents:
        name = min((name for name in LANGUAGES if waiting[name]), key=lambda name: written[name] / totals[name])
        document = waiting[name].pop(0)
        written[name] += _size(document)
        ordered.append(document)
    return ordered


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
