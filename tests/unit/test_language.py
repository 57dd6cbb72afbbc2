"""Which language a text is in."""

from __future__ import annotations

import pytest

from minimal_llm.language import LANGUAGES, Language, detect_language, language_shares
from tests.books import story

ENGLISH = "She said that the lamp was hers, and would not give it to them."
SPANISH = "Dijo que la lámpara era suya, y no quiso dársela a ellos porque la había encontrado."


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (SPANISH, "es"), (ENGLISH.upper(), "en")])
def test_running_text_is_told(text: str, language: Language) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_paragraph_of_a_story_is_told(language: Language) -> None:
    assert {detect_language(paragraph) for paragraph in story(language, 50)} == {language}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n 123 456 ¡!",
        "The end",
        "Ada Luna, Beto Luna, Celia Luna, Dora Luna y Eva Luna",
        "a no me he has son sin once van come do",
        " ".join([ENGLISH, SPANISH]),
        "Il était une fois un roi et une reine qui vivaient dans un château ; la reine ne savait que faire.",
        "Era uma vez um rei que vivia num castelo; a rainha não sabia o que fazer quando ele se zangava.",
        "C'era una volta un re che viveva in un castello; la regina non sapeva che fare per calmarlo, perché gridava.",
        "Es war einmal ein König, der lebte in einem Schloss, und die Königin wusste nicht, was sie tun sollte.",
    ],
    ids=["empty", "digits", "few", "names", "ambiguous", "both", "french", "portuguese", "italian", "german"],
)
def test_too_little_evidence_is_none(text: str) -> None:
    assert detect_language(text) is None


def test_shares_are_of_all_words_and_of_each_language() -> None:
    assert language_shares("the lamp of the harbour") == {"en": 3 / 5, "es": 0.0}
    assert language_shares("la lámpara del puerto") == {"en": 0.0, "es": 2 / 4}
    assert language_shares("") == {"en": 0.0, "es": 0.0}
    assert list(language_shares("x")) == list(LANGUAGES)
