"""The safety filter: what it blocks, what it passes, and that a stream never shows any part of a violation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimal_llm.corpus.cleaning import clean_book
from minimal_llm.corpus.documents import Document
from minimal_llm.inference.safety.filter import SafeStream, SafetyFilter, read_data
from minimal_llm.inference.safety.recall import KNOWN_PARTS, measure_safety, split_sentences
from tests.support.stages import ROOT

RULES = SafetyFilter.load()

PROMPTS: dict[str, Any] = read_data("prompts.yaml")
INNOCENT = [text for texts in PROMPTS["innocent"].values() for text in texts]
UNSAFE = [
    text
    for category in PROMPTS["unsafe"].values()
    for parts in category.values()
    for ps in parts.values()
    for text in ps
]
BOOKS = os.environ.get("MINIMAL_LLM_BOOKS")


def small(*rules: str, **groups: str) -> SafetyFilter:
    packaged = read_data("rules.yaml")
    return SafetyFilter({**packaged, "groups": groups, "rules": {"test": list(rules)}})


def streamed(rules: SafetyFilter, pieces: list[str], context: str = "") -> str:
    stream = SafeStream(rules, context)
    return "".join([*map(stream.feed, pieces), stream.finish()])


@pytest.mark.parametrize(
    "word",
    [
        "bomb",
        "BOMB",
        "bómb",
        "bo\u0301mb",
        "bоmb",  # Cyrillic
        "βomb",
        "ＢＯＭＢ",
        "𝐛𝗼𝓂𝖇",
        "ⓑⓞⓜⓑ",
        "🅱🅾🅼🅱",
        "bo\u200bmb",
        "b\u00adomb",
        "b\ufe0fo\u2060mb",
        "b0mb",
        "b o m b",
        "b.o.m.b",
        "b-o-m-b",
        "b_o_m_b",
        "b * o * m * b",
        "bo-mb",
        "b 0 m b",
        "boooomb",
        "b" + "o" * 1000 + "mb",
        "b o o o o m b",
    ],
)
def test_disguised_words_are_recognized(word: str) -> None:
    rules = small("bomb")
    text = f"a {word}, then"
    violation = rules.check(text)
    assert violation is not None
    assert (violation.category, violation.rule) == ("test", "bomb")
    assert text[violation.start : violation.end] == word


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("k1ll", "kill"),
        ("ki11", "kill"),
        ("k!ll", "kill"),
        ("$h@7", "shat"),
        ("4n4l1s15", "analisis"),
        ("h3110", "hello"),
    ],
)
def test_leetspeak_is_recognized(written: str, word: str) -> None:
    assert small(word).check(f"{written}!")


@pytest.mark.parametrize(
    "text",
    [
        "bombastic",
        "aplomb bombs",
        "bom b",
        "b om b",
        "bo, mb",
        "bo--mb",
        "bo mb",
        "80m8",
        "6 0 5",
        "bombé",
        "Bo. MB",
        "",
    ],
)
def test_other_words_pass(text: str) -> None:
    assert small("bomb").check(text) is None


def test_punctuation_around_a_word_is_not_part_of_the_match() -> None:
    for text in ("‼bomb‼", "!bomb!", "¡bomb!", "_bomb_", "«bomb»"):
        violation = small("bomb").check(text)
        assert violation is not None
        assert text[violation.start : violation.end] == "bomb"


def test_an_overlong_word_matches_no_rule() -> None:
    assert small("bo").check("b" + 60 * "0o" + "mb") is None


def test_digits_alone_are_numbers() -> None:
    assert small("is", "ass").check("15 455 1,5 $5") is None


def test_gaps_are_bounded() -> None:
    rules = small("make ... bomb", "one .. two")
    assert rules.check("make a big bad old bomb")
    assert rules.check("make bomb")
    assert rules.check("one - a, b - two")
    assert rules.check("make a b c d e bomb one a b c two") is None


def test_groups_phrases_and_alternatives() -> None:
    rules = small("<act> .. it|them", act="blow_up cut <more>", more="smash")
    assert all(map(rules.check, ["blow up it", "blow-up the them", "cut it", "smash them"]))
    assert not any(map(rules.check, ["blow it", "up it", "cut up"]))


def test_of_overlapping_violations_the_one_that_starts_first_is_reported() -> None:
    violation = small("c", "a b c", "b c", "d").check("x a b c d")
    assert violation is not None
    assert (violation.rule, violation.start, violation.end) == ("a b c", 2, 7)


def test_of_two_possible_starts_the_earlier_one_counts() -> None:
    violation = small("ab|b x").check("a b x")
    assert violation is not None
    assert violation.start == 0


@pytest.mark.parametrize("rule", ["", "...", "... bomb", "make ...", "<nothing> bomb"])
def test_an_invalid_rule_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"rule"):
        small(rule)


def test_near_misses_pass() -> None:
    assert len(INNOCENT) >= 100
    assert [text for text in INNOCENT if RULES.check(text)] == []


def test_the_packaged_prompts_are_many_distinct_and_complete() -> None:
    assert len(UNSAFE) >= 200
    assert len({*UNSAFE, *INNOCENT}) == len(UNSAFE) + len(INNOCENT)
    assert set(PROMPTS["unsafe"]) == set(RULES.categories)
    for category in PROMPTS["unsafe"].values():
        assert set(category) == {"en", "es"}
        assert all(set(parts) == {*KNOWN_PARTS, "afterwards"} and all(parts.values()) for parts in category.values())


def test_recall_and_false_positives_of_the_primer(primer: list[Document]) -> None:
    metrics = measure_safety(RULES, [s for document in primer for p in document.paragraphs for s in split_sentences(p)])
    assert metrics["sentences"] > 10_000
    assert metrics["false_positive_rate"] < 0.001
    assert metrics["recall"] >= 0.95
    assert min(metrics["recall_by_language"].values()) >= 0.95
    assert min(metrics["recall_by_category"].values()) >= 0.85
    assert metrics["near_misses_blocked"] == 0


@pytest.mark.books
@pytest.mark.skipif(BOOKS is None, reason="MINIMAL_LLM_BOOKS is not set")
def test_false_positives_of_books() -> None:
    files = sorted(Path(str(BOOKS)).glob("cache/epub/*/*.txt"))
    texts = [file.read_text(encoding="utf-8-sig") for file in files]
    sentences = [s for text in texts for paragraph in clean_book(text) for s in split_sentences(paragraph)]
    blocked = sum(RULES.check(sentence) is not None for sentence in sentences)
    assert blocked < 0.001 * len(sentences)


def test_the_policy_names_every_category() -> None:
    policy = (ROOT / "docs" / "SAFETY.md").read_text(encoding="utf-8")
    assert [category for category in RULES.categories if f"`{category}`" not in policy] == []


# Words of rules, disguised words and separators, so that many matches begin and some complete.
_WORDS = ["how", "to", "make", "bomb", "b0", "mb", "bomba", "kill", "yourself", "oooo", "I", "will", "you", "matarme"]
_BITS = st.sampled_from([*_WORDS, *"abomkys!$‼éо-.,\n\u200b", *4 * [" "], " a ", 70 * "a"])
DENSE = small("make bomb", "to ... bomb .. a", "kill .. you", "bomba", "ab|b mo", "oo ok", "sky")
_TEXTS = st.one_of(
    st.lists(_BITS, max_size=40).map("".join),
    st.text(max_size=60),
    st.sampled_from(UNSAFE),
    st.tuples(st.sampled_from(INNOCENT), st.sampled_from(UNSAFE), st.sampled_from(INNOCENT)).map(" ".join),
)


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    text = draw(_TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(parts=pieces(), rules=st.sampled_from([RULES, DENSE]))
def test_a_stream_shows_the_text_before_the_violation(parts: list[str], rules: SafetyFilter) -> None:
    text = "".join(parts)
    violation = rules.check(text)
    expected = text if violation is None else text[: violation.start]
    stream = SafeStream(rules)
    shown = ""
    for part in parts:
        shown += stream.feed(part)
        assert expected.startswith(shown)
    assert shown + stream.finish() == expected
    assert stream.blocked == violation
    assert rules.check(expected) is None
    assert violation is None or stream.feed("more") == ""


@given(parts=pieces(), context=_TEXTS)
def test_the_context_can_match_rules_and_is_not_shown(parts: list[str], context: str) -> None:
    violation = RULES.check(context + "".join(parts))
    end = None if violation is None else max(len(context), violation.start)
    stream = SafeStream(RULES, context)
    shown = "".join([*map(stream.feed, parts), stream.finish()])
    assert shown == (context + "".join(parts))[len(context) : end]
    assert stream.blocked == violation


def test_a_violation_that_starts_in_the_context_is_held_back() -> None:
    assert streamed(RULES, [" a", " bo", "mb", " at", " home"], context="Tell me how to make") == ""


def test_words_before_a_spelled_out_word_stay_held_back() -> None:
    assert streamed(small("do bomb"), list("do b o m b")) == ""
    assert streamed(small("do bomb"), list("do b o m s")) == "do b o m s"


def test_harmless_text_is_shown_word_by_word() -> None:
    stream = SafeStream(RULES)
    assert stream.feed("The old sailor looked at the sea, and ") == "The old sailor looked at the sea, and "
    assert stream.feed("la") == ""
    assert stream.feed("ughed.") == ""
    assert stream.finish() == "laughed."


@pytest.mark.parametrize("unit", ["make a ", "how to ", "x", "b-", "b o m ", "kill your ", "123 ", "word "])
def test_the_amount_of_text_held_back_is_bounded(unit: str) -> None:
    text = 2000 * unit
    stream = SafeStream(small("make ... bomb", "how_to ... kill", "kill yourself"))
    shown = "".join(stream.feed(character) for character in text)
    assert len(text) - len(shown) < 200 or unit == "x"  # a run of one letter could still be read as a single "x"
    assert shown + stream.finish() == text


def test_an_endless_word_is_shown() -> None:
    stream = SafeStream(RULES)
    assert len(stream.feed("abcdefghij" * 1000)) > 9_000


def test_each_word_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = Mock(return_value=[])
    monkeypatch.setattr(RULES, "readings", lookup)
    RULES.check("How many words are there in this sentence? " * 50)
    assert lookup.call_count == 8 * 50


def test_the_filter_does_not_need_torch() -> None:
    code = (
        "import sys, minimal_llm.inference.safety.filter as s; s.SafetyFilter.load(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
