"""Cleaning and the default corpus on real Project Gutenberg files, which are not part of this repository.

MINIMAL_LLM_BOOKS is a directory laid out like a mirror (cache/epub/{id}/pg{id}.txt), with a subdirectory irregular/.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import CorpusError
from minimal_llm.common.files import sha256_of
from minimal_llm.corpus.boilerplate import read_header
from minimal_llm.corpus.build import build_corpus
from minimal_llm.corpus.charset import decode
from minimal_llm.corpus.cleaning import clean_book
from minimal_llm.corpus.gutenberg import check_book
from minimal_llm.corpus.language_detection import detect_language
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.manifest import read_corpus, read_manifest
from minimal_llm.corpus.text_files import read_documents
from tests.support.mirror_server import MirrorServer, mirror

FOLDER = Path(os.environ.get("MINIMAL_LLM_BOOKS", "")) if os.environ.get("MINIMAL_LLM_BOOKS") else None
PARAMS = Path(__file__).resolve().parent.parent.parent / "params.yaml"

pytestmark = [
    pytest.mark.books,
    pytest.mark.skipif(FOLDER is None, reason="MINIMAL_LLM_BOOKS is not set to a directory of books"),
]

ENGLISH = (11, 55, 84, 1342, 1661, 2591)
SPANISH = (320, 2000, 14765, 16961, 17223, 17340, 61202)
LANGUAGE_OF: dict[int, Language] = {**dict.fromkeys(ENGLISH, "en"), **dict.fromkeys(SPANISH, "es")}
IRREGULAR = (
    "pg1342.2026lf.txt",
    "pg17340.latin1.txt",
    "pg55.old1993.txt",
    "pg61202.nomarkers.txt",
    "pg84.noSTART.txt",
)
FILES = [f"cache/epub/{number}/pg{number}.txt" for number in LANGUAGE_OF] + [f"irregular/{name}" for name in IRREGULAR]

# Phrases used only in licenses, headers, footers and by transcribers.
TELL_TALES = re.compile(
    r"project\s+gutenberg|gutenberg\.(?:org|net)|gutenberg-tm|\be-?text|\bebook|electronic work|^\W*produced by|"
    r"prepared by|transcri(?:ber|pci[oó]n|ptor)|preparer|proofread|pgdp|\*\*\*|small print|https?://|www\.|"
    r"\[illustration|\[ilustraci|public domain|versalitas|/\*|\*/",
    re.IGNORECASE | re.MULTILINE,
)

# The first words of the paragraphs between the markers that do not belong to the book. Compiled by reading the files,
# not by running the program.
NOT_OF_THE_BOOK = (
    "produced by",
    "e text prepared by",
    "note project gutenberg also has an html version",
    "nota de transcripción",
    "las cursivas se muestran entre",
    "los errores de imprenta han sido corregidos",
    "se ha respetado la ortografía del original",
    "se han completado los emparejamientos",
    "para facilitar la lectura se han troceado",
    "también se han expandido las abreviaturas de los perros",
    "las notas a pie de página se han renumerado",
    "preparer s note",
    "the text is based on translations from the grimms",
)


def path_of(name: str) -> Path:
    assert FOLDER is not None
    return FOLDER / name


@lru_cache
def cleaned(name: str) -> list[str]:
    return clean_book(decode(path_of(name).read_bytes())[0])


def words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def naive_paragraphs(name: str) -> Iterator[str]:
    """Yield the words of each paragraph between the markers, found in the simplest possible way, without any of the
    program's patterns."""
    raw = path_of(name).read_bytes()
    text = raw.decode("latin-1" if "latin1" in name else "utf-8-sig").replace("\r\n", "\n")
    start, end = 0, len(text)
    for opening in (
        "*** START OF THE PROJECT",
        "*** START OF THIS PROJECT",
        "***START OF THE PROJECT",
        "*END*THE SMALL",
    ):
        if opening in text:
            start = text.index("\n", text.index(opening))
    for closing in ("\nEnd of Project", "\nEnd of the Project", "\nEnd of The Project", "\n*** END OF", "\n***END OF"):
        if closing in text:
            end = min(end, text.index(closing))
    body = text[start:end]
    while (opening_at := body.find("[Illustration")) >= 0 or (opening_at := body.find("[Ilustración]")) >= 0:
        depth, at = 1, opening_at + 1
        while depth:
            depth += {"[": 1, "]": -1}.get(body[at], 0)
            at += 1
        body = body[:opening_at] + body[at:]
    for paragraph in re.sub(r"\n[ \t]*(?=\n)", "\n", body).split("\n\n"):
        if found := words(paragraph.replace("_", "").replace("/* NIND", "").replace("/* RIGHT", "")):
            yield found


@pytest.mark.parametrize("name", FILES)
def test_no_license_or_transcribers_text_is_left(name: str) -> None:
    left = [paragraph[:100] for paragraph in cleaned(name) if TELL_TALES.search(paragraph)]
    assert left == []


@pytest.mark.parametrize("name", FILES)
def test_no_paragraph_is_lost_or_reordered(name: str) -> None:
    kept = [words(paragraph) for paragraph in cleaned(name)]
    expected = [text for text in naive_paragraphs(name) if not text.startswith(NOT_OF_THE_BOOK)]
    if name.endswith("old1993.txt"):
        assert expected[0] == "the project gutenberg etext of the wonderful wizard of oz"
        expected[0] = "the wonderful wizard of oz"
    assert len(expected) > 300
    assert [text for text in kept if text] == expected


@pytest.mark.parametrize("name", FILES)
def test_paragraphs_are_clean_lines(name: str) -> None:
    for paragraph in cleaned(name):
        assert paragraph == " ".join(paragraph.split())
        assert paragraph
        assert not re.search(r"(?<!_)_(?!_)", paragraph)


def test_every_complete_book_is_accepted_quickly() -> None:
    began = time.process_time()
    for number, language in LANGUAGE_OF.items():
        book = check_book(path_of(f"cache/epub/{number}/pg{number}.txt").read_bytes(), number, language)
        assert book.title
        assert book.author
    assert time.process_time() - began < 10


@pytest.mark.parametrize(("number", "language"), [(11, "es"), (320, "en"), (14765, "en")])
def test_no_book_is_accepted_as_the_other_language(number: int, language: Language) -> None:
    with pytest.raises(CorpusError, match="not in the language"):
        check_book(path_of(f"cache/epub/{number}/pg{number}.txt").read_bytes(), number, language)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("http404_as.txt", "HTML page"),
        ("pg61202.nomarkers.txt", "END marker"),
        ("pg84.noSTART.txt", None),
        ("pg55.old1993.txt", None),
        ("pg1342.2026lf.txt", None),
        ("pg17340.latin1.txt", None),
    ],
)
def test_irregular_files_are_accepted_or_rejected_like_downloads(name: str, reason: str | None) -> None:
    raw = path_of(f"irregular/{name}").read_bytes()
    number = int(re.sub(r"\D", "", name.split(".")[0]))
    language: Language = "es" if number in SPANISH else "en"
    if reason is None:
        assert check_book(raw, number, language).paragraphs
    else:
        with pytest.raises(CorpusError, match=reason):
            check_book(raw, number, language)


def test_different_versions_of_a_file_give_the_same_book() -> None:
    assert cleaned("irregular/pg17340.latin1.txt") == cleaned("cache/epub/17340/pg17340.txt")
    assert cleaned("irregular/pg1342.2026lf.txt") == cleaned("cache/epub/1342/pg1342.txt")
    # one correction was made in between
    bare, marked = cleaned("irregular/pg61202.nomarkers.txt"), cleaned("cache/epub/61202/pg61202.txt")
    assert len(bare) == len(marked)
    assert sum(one != other for one, other in zip(bare, marked, strict=True)) == 1


@pytest.mark.parametrize(
    ("number", "title", "authors"),
    [
        (2591, "Grimms' Fairy Tales", ("Jacob Grimm", "Wilhelm Grimm")),
        (320, "La vida de Lazarillo de tormes y de sus fortunas y adversidades", ("Unknown",)),
        (84, "Frankenstein; Or, The Modern Prometheus", ("Mary Wollstonecraft Shelley",)),
    ],
)
def test_headers(number: int, title: str, authors: tuple[str, ...]) -> None:
    found = read_header(decode(path_of(f"cache/epub/{number}/pg{number}.txt").read_bytes())[0])
    assert (found.title, found.authors) == (title, authors)


def test_book_files_given_as_text_files_are_cleaned_too() -> None:
    assert FOLDER is not None
    [document] = read_documents([str(FOLDER / "irregular" / "pg61202.nomarkers.txt")])
    assert document.language == "es"
    assert list(document.paragraphs) == cleaned("irregular/pg61202.nomarkers.txt")


@pytest.mark.parametrize("ending", ["\r\n", "\r\r\n", "\r"])
def test_line_endings_make_no_difference(ending: str) -> None:
    text = decode(path_of("cache/epub/320/pg320.txt").read_bytes())[0]
    assert clean_book(decode(text.replace("\n", ending).encode())[0]) == clean_book(text)


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with mirror(folder=FOLDER) as running:
        yield running


def test_the_default_corpus_is_correct_and_reproducible(
    server: MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUTENBERG_MIRRORS", server.url)
    config = load_config(PARAMS).download
    artifacts = Artifacts(tmp_path)
    manifest = build_corpus(config, 1234, artifacts)
    limit = config.megabytes_per_language * 1e6
    assert all(limit - 5000 < manifest.bytes_per_language[language] <= limit for language in LANGUAGES)
    assert (manifest.source, manifest.fallback) == ("gutenberg", False)
    assert len(server.requests) == len(set(server.requests)) == len(manifest.documents)
    text = artifacts.corpus.read_text(encoding="utf-8")
    assert not TELL_TALES.search(text)
    half = len(text) // 2
    shares = [sum(detect_language(line) == "es" for line in part.split("\n")) for part in (text[:half], text[half:])]
    assert min(shares) > 0.3 * max(shares)
    corpus = read_corpus(artifacts)
    for entry, (language, paragraphs) in zip(manifest.documents, corpus.documents(), strict=True):
        number = int(entry.id.removeprefix("pg"))
        name = f"cache/epub/{number}/pg{number}.txt"
        assert language == LANGUAGE_OF[number]
        assert entry.sha256 == sha256_of(path_of(name).read_bytes())
        assert list(paragraphs) == cleaned(name)[: len(paragraphs)]

    before = artifacts.corpus.read_bytes(), artifacts.corpus_manifest.read_bytes()
    requested = len(server.requests)
    assert build_corpus(config, 1234, artifacts) == manifest == read_manifest(artifacts.corpus_manifest)
    assert (artifacts.corpus.read_bytes(), artifacts.corpus_manifest.read_bytes()) == before
    assert len(server.requests) == requested
    build_corpus(config, 1234, Artifacts(tmp_path / "afresh"))
    afresh = Artifacts(tmp_path / "afresh")
    assert (afresh.corpus.read_bytes(), afresh.corpus_manifest.read_bytes()) == before
