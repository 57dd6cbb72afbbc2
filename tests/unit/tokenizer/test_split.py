from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minimal_llm.common.config import SplitConfig
from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.split import split_documents
from minimal_llm.tokenizer.token_files import SPLITS

Documents = list[tuple[Language, tuple[str, ...]]]


def split_config(validation: float, block_bytes: int, test: float = 0.05) -> SplitConfig:
    return SplitConfig(validation_fraction=validation, test_fraction=test, block_bytes=block_bytes)


def book(language: Language, name: str, paragraphs: int) -> tuple[Language, tuple[str, ...]]:
    return language, tuple(f"{name} paragraph {n} " + "word " * 40 for n in range(paragraphs))


def test_every_book_and_both_languages_are_in_all_splits() -> None:
    documents = [book("en", "a", 300), book("es", "b", 200), book("en", "c", 250)]
    segments = list(split_documents(documents, split_config(0.1, 1024)))
    for name in "abc":
        assert {s.split for s in segments if s.paragraphs[0].startswith(name)} == {"train", "val", "test"}


def test_the_fractions_hold_for_each_language() -> None:
    segments = list(split_documents([book("en", "a", 1000), book("es", "b", 500)], split_config(0.1, 2048)))
    for language in ("en", "es"):
        sizes = {
            split: sum(len(s.text) for s in segments if (s.split, s.language) == (split, language)) for split in SPLITS
        }
        assert 0.08 < sizes["val"] / sum(sizes.values()) < 0.12
        assert 0.03 < sizes["test"] / sum(sizes.values()) < 0.07


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_the_validation_text_does_not_depend_on_the_size_of_the_test(
    validation: float, first: float, second: float
) -> None:
    splits = [
        list(split_documents([book("en", "a", 60)], split_config(validation, 256, fraction)))
        for fraction in (first, second)
    ]
    one, other = ({p for s in segments if s.split == "val" for p in s.paragraphs} for segments in splits)
    assert one == other


def test_a_corpus_of_many_short_documents_is_split_between_them() -> None:
    stories: Documents = [book("en", f"story {n}", 2) for n in range(100)]
    segments = list(split_documents(stories, split_config(0.1, 4096)))
    assert sum(s.split == "val" for s in segments) == 10


@given(
    st.lists(st.lists(st.text("ab ", min_size=1, max_size=300), min_size=1, max_size=20), max_size=8),
    st.integers(256, 2000),
)
def test_no_paragraph_is_lost_repeated_or_reordered(texts: list[list[str]], block_bytes: int) -> None:
    documents: Documents = [("en", tuple(paragraphs)) for paragraphs in texts]
    segments = list(split_documents(documents, split_config(0.2, block_bytes)))
    assert [p for s in segments for p in s.paragraphs] == [p for paragraphs in texts for p in paragraphs]
