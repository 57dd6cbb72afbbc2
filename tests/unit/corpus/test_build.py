"""Building the corpus and its manifest from every source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Books, DownloadConfig
from minimal_llm.common.errors import ConfigurationError, CorpusError
from minimal_llm.common.files import read_sealed, sha256_of, write_sealed
from minimal_llm.corpus.build import build_corpus
from minimal_llm.corpus.duplicates import SHORTEST
from minimal_llm.corpus.gutenberg import Library
from minimal_llm.corpus.manifest import read_corpus, read_manifest
from minimal_llm.corpus.transfer import Limits
from tests.support.books import STYLES, story, synthetic_book
from tests.support.mirror_server import MirrorServer, book_path, mirror, refused_url

QUICK = Limits(connect=1, read=1, backoff=0.001)
EN = {number: synthetic_book("en", 30 + number, STYLES[number - 1]) for number in (1, 2, 3)}
ES = {number: synthetic_book("es", 60 - number, STYLES[number - 4]) for number in (4, 5)}
BOOKS = {number: book.raw for number, book in (EN | ES).items()}


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with mirror(BOOKS) as running:
        yield running


def config(**changes: Any) -> DownloadConfig:
    values: dict[str, Any] = {
        "source": "gutenberg",
        "offline_fallback": True,
        "megabytes_per_language": 0.01,
        "books": Books(en=tuple(EN), es=tuple(ES)),
        "files": (),
        "primer_megabytes": 0.1,
        "deduplicate": False,
    }
    return DownloadConfig(**(values | changes))


def build(folder: Path, *mirrors: str, **changes: Any) -> Artifacts:
    artifacts = Artifacts(folder)
    build_corpus(config(**changes), 1, artifacts, library=Library(mirrors, artifacts.raw_books, limits=QUICK))
    return artifacts


def test_the_manifest_describes_the_corpus(server: MirrorServer, tmp_path: Path) -> None:
    artifacts = build(tmp_path, server.url, megabytes_per_language=1)
    manifest = read_manifest(artifacts.corpus_manifest)
    raw = artifacts.corpus.read_bytes()
    lines = raw.decode("utf-8").split("\n")
    for entry in manifest.documents:
        number = int(entry.id.removeprefix("pg"))
        paragraphs = (EN | ES)[number].paragraphs
        assert tuple(lines[entry.first_line - 1 : entry.last_line]) == paragraphs
        assert entry.paragraphs == len(paragraphs)
        assert entry.bytes == len("".join(f"{paragraph}\n" for paragraph in paragraphs).encode())
        assert entry.sha256 == sha256_of(BOOKS[number])
        assert entry.url == f"https://www.gutenberg.org{book_path(number)}"
        assert entry.encoding == "utf-8-sig"
        assert entry.language == ("en" if number in EN else "es")
    blanks = [number for number, line in enumerate(lines[:-1], start=1) if not line]
    assert blanks == [entry.last_line + 1 for entry in manifest.documents[:-1]]
    assert raw.endswith(b"\n")
    assert b"\r" not in raw
    assert sum(manifest.bytes_per_language.values()) == manifest.total_bytes == len(raw) - len(blanks)
    assert (manifest.source, manifest.requested_source, manifest.fallback) == ("gutenberg", "gutenberg", False)


def test_the_languages_alternate(server: MirrorServer, tmp_path: Path) -> None:
    manifest = read_manifest(build(tmp_path, server.url, megabytes_per_language=1).corpus_manifest)
    assert [entry.language for entry in manifest.documents] == ["en", "es", "en", "es", "en"]


def test_one_large_book_is_placed_between_many_small_ones(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"en{number}.txt").write_text("\n\n".join(story("en", 10)), encoding="utf-8")
    (tmp_path / "es.txt").write_text("\n\n".join(story("es", 60)), encoding="utf-8")
    artifacts = build(tmp_path / "out", source="files", files=(f"{tmp_path}/*.txt",))
    languages = [entry.language for entry in read_manifest(artifacts.corpus_manifest).documents]
    assert languages == ["en", "es", "en", "en", "en", "en", "en"]


def test_later_stages_read_the_documents_with_their_languages(server: MirrorServer, tmp_path: Path) -> None:
    corpus = read_corpus(build(tmp_path, server.url, megabytes_per_language=1))
    documents = list(corpus.documents())
    assert documents[:2] == [("en", EN[1].paragraphs), ("es", ES[4].paragraphs)]
    assert list(corpus.documents("es")) == [one for one in documents if one[0] == "es"]


def test_the_limit_cuts_between_paragraphs_and_no_unneeded_book_is_downloaded(
    server: MirrorServer, tmp_path: Path
) -> None:
    artifacts = build(tmp_path, server.url)
    manifest = read_manifest(artifacts.corpus_manifest)
    longest = max(len(paragraph.encode()) + 1 for book in (EN | ES).values() for paragraph in book.paragraphs)
    assert all(10_000 - longest < size <= 10_000 for size in manifest.bytes_per_language.values())
    assert server.requests == [book_path(number) for number in (1, 2, 4)]
    for entry, (_, paragraphs) in zip(manifest.documents, read_corpus(artifacts).documents(), strict=True):
        assert paragraphs == (EN | ES)[int(entry.id.removeprefix("pg"))].paragraphs[: entry.paragraphs]


def test_a_list_of_books_that_is_too_short_is_reported(
    server: MirrorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, server.url, megabytes_per_language=2)
    assert "en: all listed books together have 0.0" in capsys.readouterr().out


def test_the_bytes_depend_only_on_the_texts(server: MirrorServer, tmp_path: Path) -> None:
    one = build(tmp_path / "one", server.url)
    with mirror(BOOKS) as other:
        two = build(tmp_path / "elsewhere" / "two", refused_url(), other.url)
        hosts = [server.url, other.url, "127.0.0.1", str(tmp_path)]
    assert one.corpus.read_bytes() == two.corpus.read_bytes()
    assert one.corpus_manifest.read_bytes() == two.corpus_manifest.read_bytes()
    assert not any(host in one.corpus_manifest.read_text(encoding="utf-8") for host in hosts)


def test_a_second_build_downloads_nothing(server: MirrorServer, tmp_path: Path) -> None:
    first = build(tmp_path, server.url)
    before = first.corpus.read_bytes(), first.corpus_manifest.read_bytes()
    requested = len(server.requests)
    build(tmp_path, server.url)
    assert len(server.requests) == requested
    assert (first.corpus.read_bytes(), first.corpus_manifest.read_bytes()) == before


def test_mirrors_come_from_the_environment(
    server: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUTENBERG_MIRRORS", f" {server.url}/ ,")
    build_corpus(config(), 1, Artifacts(tmp_path))
    assert server.requests
    monkeypatch.setenv("GUTENBERG_MIRRORS", "ftp://mirror.example")
    with pytest.raises(ConfigurationError, match=r"ftp://mirror\.example"):
        build_corpus(config(), 1, Artifacts(tmp_path))


def test_without_a_reachable_mirror_the_primer_is_used_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = build(tmp_path / "a", refused_url())
    warning = capsys.readouterr().err
    assert "NO BOOKS" in warning
    assert "primer" in warning
    manifest = read_manifest(artifacts.corpus_manifest)
    assert (manifest.source, manifest.requested_source, manifest.fallback) == ("primer", "gutenberg", True)
    assert manifest.reason
    assert min(manifest.bytes_per_language.values()) > 40_000
    assert read_manifest(artifacts.corpus_manifest).fallback
    again = build(tmp_path / "b", refused_url(), refused_url())
    assert again.corpus.read_bytes() == artifacts.corpus.read_bytes()
    assert again.corpus_manifest.read_bytes() == artifacts.corpus_manifest.read_bytes()


def test_choosing_the_primer_is_not_a_fallback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = build(tmp_path, source="primer")
    manifest = read_manifest(artifacts.corpus_manifest)
    assert (manifest.source, manifest.fallback, manifest.reason) == ("primer", False, "")
    assert capsys.readouterr().err == ""


def test_the_two_versions_of_a_story_are_far_apart(tmp_path: Path) -> None:
    manifest = read_manifest(build(tmp_path, source="primer").corpus_manifest)
    place = {entry.id: at for at, entry in enumerate(manifest.documents)}
    apart = [
        abs(at - place[one[:-2] + "es"]) for one, at in place.items() if one[-2:] == "en" and one[:-2] + "es" in place
    ]
    assert len(apart) > 0.45 * len(place)
    assert min(apart) > len(place) / 4


def test_files_are_used_completely_and_recorded_without_their_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n\n".join(story("en", 200)), encoding="utf-8")
    artifacts = build(tmp_path / "out", source="files", files=(str(tmp_path / "mine.txt"),))
    manifest = read_manifest(artifacts.corpus_manifest)
    [entry] = manifest.documents
    assert (entry.url, entry.paragraphs) == ("mine.txt", 200)
    assert manifest.bytes_per_language["es"] == 0
    assert str(tmp_path) not in artifacts.corpus_manifest.read_text(encoding="utf-8")


def test_a_book_that_comes_twice_is_dropped_once_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [f"{paragraph} {paragraph}" for paragraph in story("en", 20)]
    assert min(map(len, long)) >= SHORTEST
    (tmp_path / "1.txt").write_text("\n\n".join(["CHAPTER I", *long]), encoding="utf-8")
    (tmp_path / "2.txt").write_text("\n\n".join(["CHAPTER I", *long, f"{long[0]} And more."]), encoding="utf-8")
    (tmp_path / "3.txt").write_text("\n\n".join(long), encoding="utf-8")
    files = (str(tmp_path / "*.txt"),)
    whole = read_manifest(build(tmp_path / "whole", source="files", files=files).corpus_manifest)
    assert ([entry.paragraphs for entry in whole.documents], whole.repeated_paragraphs) == ([21, 22, 20], 0)
    capsys.readouterr()
    artifacts = build(tmp_path / "once", source="files", files=files, deduplicate=True)
    once = read_manifest(artifacts.corpus_manifest)
    assert ([entry.paragraphs for entry in once.documents], once.repeated_paragraphs) == ([21, 2], 40)
    assert "  40 paragraphs came again and were dropped" in capsys.readouterr().out
    assert [text for _, text in read_corpus(artifacts).documents()][1] == ("CHAPTER I", f"{long[0]} And more.")


def test_an_unwritable_directory_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="cannot be read or written") as caught:
        build(tmp_path / "file", source="primer")
    assert caught.value.kind == "configuration"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"source": "gutenberg"}'])
def test_an_invalid_manifest_is_rejected(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "corpus_manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match="corpus_manifest") as caught:
        read_manifest(tmp_path / "corpus_manifest.json")
    assert caught.value.remedy == "dvc repro download"


def test_a_manifest_with_another_structure_is_rejected(tmp_path: Path) -> None:
    artifacts = build(tmp_path, source="primer")
    good = read_sealed(artifacts.corpus_manifest)
    changes: list[dict[str, Any]] = [
        {"extra": 1},
        {"documents": []},
        {"bytes_per_language": {"en": 1}},
        {"source": "x"},
    ]
    for change in changes:
        write_sealed(artifacts.corpus_manifest, good | change)
        with pytest.raises(CorpusError, match=next(iter(change))):
            read_manifest(artifacts.corpus_manifest)


def test_a_corpus_that_does_not_match_its_manifest_is_rejected(tmp_path: Path) -> None:
    artifacts = build(tmp_path, source="primer")
    whole = artifacts.corpus.read_bytes()
    for damaged in (whole[:-100], b"one more line\n" + whole, whole.replace(b" the ", b" a ", 1), b"\xff" + whole):
        artifacts.corpus.write_bytes(damaged)
        with pytest.raises(CorpusError, match="corpus_bilingual"):
            read_corpus(artifacts)
    artifacts.corpus.unlink()
    with pytest.raises(CorpusError, match="is missing"):
        read_corpus(artifacts)


@pytest.mark.parametrize(("texts", "said"), [(1, "corpus: files, 1 document, "), (2, "corpus: files, 2 documents, ")])
def test_the_documents_are_counted_in_english(
    texts: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(texts):
        (tmp_path / f"{number}.txt").write_text("\n\n".join(story("en", 3)), encoding="utf-8")
    build(tmp_path / "data", source="files", files=(str(tmp_path / "*.txt"),))
    assert capsys.readouterr().out.startswith(said)
