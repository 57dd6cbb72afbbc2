from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.split import split_documents

Documents = list[tuple[Language, tuple[str, ...]]]


def book(language: Language, name: str, paragraphs: int) -> tuple[Language, tuple[str, ...]]:
    return language, tuple(f"{name} paragraph {n} " + "word " * 40 for n in range(paragraphs))


def test_every_book_and_both_languages_are_in_both_splits() -> None:
    documents = [book("en", "a", 300), book("es", "b", 200), book("en", "c", 250)]
    segments = split_documents(documents, 0.1, 1024)
    for name in "abc":
        assert {s.split for s in segments if s.paragraphs[0].startswith(name)} == {"train", "val"}


def test_the_validation_fraction_holds_for_each_language() -> None:
    segments = split_documents([book("en", "a", 1000), book("es", "b", 500)], 0.1, 2048)
    for language in ("en", "es"):
        sizes = {
            split: sum(len(s.text) for s in segments if (s.split, s.language) == (split, language))
            for split in ("train", "val")
        }
        assert 0.08 < sizes["val"] / sum(sizes.values()) < 0.12


def test_a_corpus_of_many_short_documents_is_split_between_them() -> None:
    stories: Documents = [book("en", f"story {n}", 2) for n in range(100)]
    segments = split_documents(stories, 0.1, 4096)
    assert sum(s.split == "val" for s in segments) == 10


@given(
    st.lists(st.lists(st.text("ab ", min_size=1, max_size=30), min_size=1, max_size=20), max_size=8),
    st.integers(1, 200),
)
def test_no_paragraph_is_lost_repeated_or_reordered(texts: list[list[str]], block_bytes: int) -> None:
    documents: Documents = [("en", tuple(paragraphs)) for paragraphs in texts]
    segments = split_documents(documents, 0.2, block_bytes)
    assert [p for s in segments for p in s.paragraphs] == [p for paragraphs in texts for p in paragraphs]
