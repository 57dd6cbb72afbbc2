from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimal_llm.common.config import TokenizerConfig
from minimal_llm.common.errors import TokenizerError
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer

AWKWARD = [
    "¿Qué? ¡Sí! «eso» —no—",
    " two  spaces ",
    "tab\tand\nlines\n\n",
    "😀 漢字 e\u0301",
    "▁ ▁▁a▁",
    "<s></s><unk><0x0A>",
    "\x00\x7f",
    "",
]
MODEL_TYPES = ["unigram", "bpe", "char", "word"]


@pytest.fixture(scope="module")
def paragraphs(corpus_folder: Path) -> list[str]:
    text = (corpus_folder / "corpus_bilingual.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


@pytest.fixture(scope="module")
def trained(paragraphs: list[str]) -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(paragraphs, settings_for(kind)) for kind in MODEL_TYPES}


def settings_for(kind: str, vocab_size: int = 1000) -> TokenizerConfig:
    return TokenizerConfig(name="t", vocab_size=vocab_size, model_type=kind, threads=1, sample_megabytes=16)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_decoding_restores_any_text_exactly(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(alphabet="▁ aáñ¿\t\n<>0x"))
    def holds(text: str) -> None:
        assert tokenizer.decode(tokenizer.encode(text)) == text

    holds()
    for text in AWKWARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_encoding_paragraphs_one_by_one_gives_the_tokens_of_the_whole_text(
    trained: dict[str, Tokenizer], paragraphs: list[str]
) -> None:
    tokenizer = trained["unigram"]
    first, second = paragraphs[:2]
    assert tokenizer.encode(f"{first}\n{second}") == [
        *tokenizer.encode(first),
        tokenizer.newline_id,
        *tokenizer.encode(second),
    ]


def test_training_twice_on_the_same_text_gives_identical_bytes(
    trained: dict[str, Tokenizer], paragraphs: list[str]
) -> None:
    assert train_tokenizer(paragraphs, settings_for("unigram")).model == trained["unigram"].model


def test_a_vocabulary_too_large_for_the_corpus_is_refused_with_the_largest_size_that_works(
    paragraphs: list[str],
) -> None:
    with pytest.raises(TokenizerError, match="too large") as refused:
        train_tokenizer(paragraphs, settings_for("unigram", 32000))
    assert refused.value.exit_code == 3
    size = int(refused.value.remedy.rpartition("=")[2])
    assert train_tokenizer(paragraphs, settings_for("unigram", size)).vocab_size == size


def test_a_vocabulary_too_small_for_the_characters_is_refused_with_the_smallest_size_that_works() -> None:
    many = ["".join(chr(0x4E00 + n) for n in range(start, start + 40)) for start in range(0, 2000, 40)]
    with pytest.raises(TokenizerError, match="too small") as refused:
        train_tokenizer(many, settings_for("unigram", 1000))
    assert int(refused.value.remedy.rpartition("=")[2]) > 2000


@pytest.mark.parametrize("texts", [[], [""]])
def test_a_corpus_without_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(TokenizerError, match="no text"):
        train_tokenizer(texts, settings_for("unigram"))


def test_long_paragraphs_are_not_dropped_in_training(paragraphs: list[str]) -> None:
    long_one = "zyzzyva " * 3000  # far above the 4192 bytes at which SentencePiece drops a sentence by default
    tokenizer = train_tokenizer([long_one, *paragraphs], settings_for("bpe"))
    assert len(tokenizer.encode(" zyzzyva")) <= 2


def test_an_id_outside_the_vocabulary_is_refused(trained: dict[str, Tokenizer]) -> None:
    with pytest.raises(TokenizerError, match="token id 1000 is outside the vocabulary of 1000"):
        trained["unigram"].decode([5, 1000])


def test_a_file_that_is_not_a_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(b"not a model")
    with pytest.raises(TokenizerError, match=r"x\.model is not a SentencePiece model"):
        Tokenizer.load(tmp_path / "x.model")
    with pytest.raises(TokenizerError, match=r"y\.model cannot be read"):
        Tokenizer.load(tmp_path / "y.model")


def test_the_vocabulary_file_has_one_entry_per_line(trained: dict[str, Tokenizer]) -> None:
    lines = trained["unigram"].vocabulary().splitlines()
    assert len(lines) == 1000
    assert all(line.count("\t") == 1 for line in lines)
