"""The primer as a corpus: size, order, determinism, little repetition and clean text."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.documents import primer_documents
from minimal_llm.corpus.primer.frames import load_frames
from minimal_llm.corpus.primer.grammar.lexicon import load_lexicon
from minimal_llm.corpus.primer.rng import SplitMix64
from minimal_llm.corpus.primer.text import sentences
from minimal_llm.corpus.primer.writer import StoryWriter
from minimal_llm.tokenizer.split import split_documents
from minimal_llm.tokenizer.train import train_tokenizer
from tests.support.stages import ROOT
from tests.unit.conftest import PRIMER_MEGABYTES

_DIGEST = """
import hashlib
from minimal_llm.corpus.primer.documents import primer_documents
digest = hashlib.sha256()
for document in primer_documents(0.2, 5):
    digest.update("\\n".join((document.id, document.title, *document.paragraphs)).encode())
print(digest.hexdigest())
"""


def _texts(primer: list[Document], language: Language) -> list[str]:
    return ["\n".join(one.paragraphs) for one in primer if one.language == language]


def _sentences(primer: list[Document], language: Language) -> list[str]:
    return [
        sentence
        for document in primer
        if document.language == language
        for paragraph in document.paragraphs
        for sentence in sentences(paragraph)
    ]


def _digest(megabytes: float, seed: int) -> str:
    digest = hashlib.sha256()
    for document in primer_documents(megabytes, seed):
        digest.update("\n".join((document.id, document.title, *document.paragraphs)).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("language", ["en", "es"])
def test_each_language_fills_half(primer: list[Document], language: Language) -> None:
    half = PRIMER_MEGABYTES * 1e6 / 2
    size = sum(len(text.encode()) for text in _texts(primer, language))
    assert 0.995 * half < size <= half


@pytest.mark.parametrize("megabytes", [0.1, 0.5])
def test_other_sizes(megabytes: float) -> None:
    documents = list(primer_documents(megabytes, 1))
    assert sum(len(text.encode()) for text in _texts(documents, "en")) <= megabytes * 5e5
    size = sum(len("\n".join(document.paragraphs).encode()) for document in documents)
    assert 0.97 * megabytes * 1e6 < size <= megabytes * 1e6


def test_every_document_has_a_valid_id_title_and_hash(primer: list[Document]) -> None:
    assert len({document.id for document in primer}) == len(primer)
    for document in primer:
        content = "\n".join(document.paragraphs).encode()
        assert document.sha256 == hashlib.sha256(content).hexdigest()
        assert document.title
        assert document.id.endswith(f"-{document.language}")
        assert 6 <= sum(len(sentences(paragraph)) for paragraph in document.paragraphs) <= 40, document.id


def test_languages_alternate(primer: list[Document]) -> None:
    first = primer[: len(primer) * 9 // 10]
    assert all(one.language != other.language for one, other in pairwise(first))


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    other_hash_seed = "1234" if os.environ.get("PYTHONHASHSEED") != "1234" else "4321"
    environment = os.environ | {"PYTHONHASHSEED": other_hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert done.stdout.strip() == _digest(0.2, 5)


def test_a_different_seed_gives_different_stories() -> None:
    one, other = list(primer_documents(0.1, 1)), list(primer_documents(0.1, 2))
    assert {tuple(document.paragraphs) for document in one}.isdisjoint(tuple(d.paragraphs) for d in other)


def test_the_generator_is_splitmix64() -> None:
    rng = SplitMix64(1234567)
    assert [rng.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_larger_corpus_begins_with_the_same_stories() -> None:
    small = {document.id: document.sha256 for document in primer_documents(0.1, 3)}
    large = {document.id: document.sha256 for document in primer_documents(0.3, 3)}
    assert small.items() <= large.items()


@pytest.mark.parametrize("language", ["en", "es"])
def test_less_than_one_percent_of_the_sentences_repeat(primer: list[Document], language: Language) -> None:
    every = _sentences(primer, language)
    assert (len(every) - len(set(every))) / len(every) < 0.01


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_vocabulary_is_large(primer: list[Document], language: Language) -> None:
    words = {word.lower() for text in _texts(primer, language) for word in re.findall(r"[^\W\d_]+", text)}
    assert len(words) >= 2500


def test_all_frames_are_used_equally_often() -> None:
    frames = load_frames()
    assert len(frames) >= 120
    stories = StoryWriter(frames, 9).stories()
    counts = Counter(next(stories).frame for _ in range(2 * len(frames)))
    assert set(counts.values()) == {2}


def test_no_slot_is_left_unfilled(primer: list[Document]) -> None:
    for document in primer:
        for text in (document.title, *document.paragraphs):
            assert not re.search(r"[{}\[\]<>|=@_#\"]|  | [,.;:!?]|\bNone\b", text), text
            assert text == text.strip(), text


def test_paragraphs_begin_with_a_capital(primer: list[Document]) -> None:
    for document in primer:
        for paragraph in document.paragraphs:
            first = next(letter for letter in paragraph if letter.isalnum())
            assert first.isdigit() or first.isupper(), paragraph


def test_english_punctuation(primer: list[Document]) -> None:
    for text in _texts(primer, "en"):
        for paragraph in text.split("\n"):
            assert not re.search("[¿¡—']", paragraph.removeprefix("—")), paragraph
            assert paragraph.count("“") == paragraph.count("”"), paragraph
            assert not re.search(r"”[,.]", paragraph), paragraph


def test_spanish_punctuation(primer: list[Document]) -> None:
    for text in _texts(primer, "es"):
        for paragraph in text.split("\n"):
            assert paragraph.count("¿") == paragraph.count("?"), paragraph
            assert paragraph.count("¡") == paragraph.count("!"), paragraph
            assert paragraph.count("“") == paragraph.count("”"), paragraph
            assert not re.search("[’']", paragraph), paragraph
            assert not re.search(r"\b(?:de|a) el\b", paragraph), paragraph
            assert not re.search(r"\by (?:[Ii]|[Hh]i[^aeo])|\bo [Hh]?[Oo]", paragraph), paragraph


def test_direct_speech_follows_the_style_of_each_language(primer: list[Document]) -> None:
    english = "\n".join(_texts(primer, "en"))
    spanish = "\n".join(_texts(primer, "es"))
    assert len(re.findall(r"[,?!]” (?:said|asked|cried|\w+ed|[A-Z]\w+ (?:said|asked))", english)) > 500
    assert len(re.findall(r"^—[¿¡]?[A-ZÁÉÍÓÚ]", spanish, re.MULTILINE)) > 500
    for line in spanish.split("\n"):
        if line.startswith("—"):
            assert not line.startswith("— "), line
            # A dialogue tag opens with a space and a dash, and closes with a dash without a space.
            assert not re.search(r"\w—\w| — |—[A-ZÁÉÍÓÚ].*—[A-ZÁÉÍÓÚ]", line[1:]), line


@pytest.mark.parametrize("language", ["en", "es"])
def test_validation_shares_no_sentences_with_training(primer: list[Document], language: Language) -> None:
    segments = list(
        split_documents([(one.language, one.paragraphs) for one in primer], load_config(ROOT / "params.yaml").split)
    )
    by_split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for segment in segments:
        if segment.language == language:
            by_split[segment.split] += [one for paragraph in segment.paragraphs for one in sentences(paragraph)]
    known = set(by_split["train"])
    assert len(by_split["val"]) > 0.05 * len(known)
    assert sum(one in known for one in by_split["val"]) / len(by_split["val"]) < 0.01


def test_both_versions_of_a_story_have_the_same_people(primer: list[Document]) -> None:
    names = load_lexicon().names
    known = {*names.f, *names.m, *names.pets}
    by_id = {document.id: document for document in primer}
    compared = 0
    for english in primer:
        spanish = by_id.get(english.id[:-2] + "es")
        if english.language == "es" or spanish is None:
            continue
        # Includes possessives (Ana’s), but not the first word of a sentence, where a name may be a common word (Rosa).
        first, second = (
            {word for text in one.paragraphs for word in re.findall(r"(?<=[a-záéíóúñ,] )[A-Z][a-z]+", text)} & known
            for one in (english, spanish)
        )
        compared += 1
        assert not (first and second) or first & second, (english.id, first, second)
    assert compared > 1000


def test_the_primer_is_large_enough_for_the_default_vocabulary(primer: list[Document]) -> None:
    config = load_config(ROOT / "params.yaml")
    sides = list(split_documents([(d.language, d.paragraphs) for d in primer], config.split))
    paragraphs = [p for segment in sides if segment.split == "train" for p in segment.paragraphs]
    assert train_tokenizer(paragraphs, config.tokenizer).vocab_size == config.tokenizer.vocab_size
