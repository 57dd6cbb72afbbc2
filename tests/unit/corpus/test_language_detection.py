"""Language detection."""

from __future__ import annotations

import pytest

from minimal_llm.corpus.language_detection import detect_language, weigh_words
from minimal_llm.corpus.languages import LANGUAGES, Language
from tests.support.books import story

ENGLISH = "She said that the lamp was hers, and would not give it to them."
SPANISH = "Dijo que la lámpara era suya, y no quiso dársela a ellos porque la había encontrado."

FRENCH = """
Il y avait une fois un roi et une reine qui vivaient dans un grand château au bord de la mer. Le roi était bon, mais
il se mettait en colère pour la moindre chose, et la reine ne savait que faire pour le calmer. Un jour, elle lui dit
que les enfants du village avaient peur de lui, et que les oiseaux ne chantaient plus dans les jardins.
"""
PORTUGUESE = """
Era uma vez um rei e uma rainha que viviam num grande castelo à beira do mar. O rei era bom, mas zangava-se por
qualquer coisa, e a rainha não sabia o que fazer para o acalmar. Um dia disse-lhe que as crianças da aldeia tinham
medo dele, e que nem os pássaros cantavam nos jardins. O rei calou-se durante muito tempo.
"""
ITALIAN = """
C'era una volta un re e una regina che vivevano in un grande castello in riva al mare. Il re era buono, ma si
arrabbiava per ogni piccola cosa, e la regina non sapeva che fare per calmarlo. Un giorno gli disse che i bambini del
villaggio avevano paura di lui, e che perfino gli uccelli non cantavano più nei giardini.
"""
GERMAN = """
Es war einmal ein König, der lebte mit seiner Frau in einem Schloss am Meer. Er war gut, aber er wurde so oft zornig,
dass die Königin nicht mehr wusste, was sie tun sollte. An einem Tag in dem Sommer will er also fort.
"""


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (SPANISH, "es"), (ENGLISH.upper(), "en")])
def test_running_text_is_recognized(text: str, language: Language) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_paragraph_of_a_story_is_recognized(language: Language) -> None:
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
        FRENCH,
        PORTUGUESE,
        ITALIAN,
        GERMAN,
    ],
    ids=["empty", "digits", "few", "names", "ambiguous", "both", "french", "portuguese", "italian", "german"],
)
def test_too_little_evidence_gives_none(text: str) -> None:
    assert detect_language(text) is None


def test_shares_are_fractions_of_all_words() -> None:
    assert weigh_words("the lamp of the harbour").shares == {"en": 3 / 5, "es": 0.0}
    assert weigh_words("la lámpara del puerto").shares == {"en": 0.0, "es": 2 / 4}
    assert weigh_words("").shares == {"en": 0.0, "es": 0.0}
    assert list(weigh_words("x").shares) == list(LANGUAGES)
