"""Writes minimal pairs by filling templates with words of the primer's lexicon that a corpus contains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import yaml

from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.grammar.english import takes_an
from minimal_llm.corpus.primer.grammar.entries import Noun
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon, load_lexicon
from minimal_llm.corpus.primer.grammar.spanish import stressed_a
from minimal_llm.model.seeds import derive_seed

PAIRS = 50  # per phenomenon
ATTEMPTS = 10_000  # most fillings of the templates of a phenomenon
SUBJECTS = {"person", "animal", "thing", "place", "plant", "food"}  # tags of nouns that anything can be said of

_CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_WORD = re.compile(r"[^\W\d_]+")

Forms = dict[str, str]  # the slots of a template, and the words to fill in


@dataclass(frozen=True)
class Pair:
    """A grammatical sentence, and one that differs in one place and is not."""

    right: str
    wrong: str


def words_of(text: str) -> set[str]:
    """Return the different words of a text, in lower case."""
    return set(_WORD.findall(text.lower()))


def write_pairs(language: Language, known: Set[str]) -> dict[str, list[Pair]]:
    """Return at most PAIRS different pairs for each phenomenon, the same for equal arguments.

    Every word is one of `known`, in lower case. A phenomenon without any pair is left out.
    """
    draw = _Drawer(every_set(language, load_lexicon()), known)
    source = resources.files(__package__) / f"templates_{language}.yaml"
    phenomena: dict[str, list[str]] = yaml.safe_load(source.read_text(encoding="utf-8"))
    written = {name: _fill(templates, name, draw, known) for name, templates in phenomena.items()}
    return {name: pairs for name, pairs in written.items() if pairs}


def _fill(templates: Sequence[str], name: str, draw: _Drawer, known: Set[str]) -> list[Pair]:
    generator = np.random.default_rng(derive_seed("grammar", 0, name))
    pairs: dict[Pair, None] = {}
    for number in range(ATTEMPTS):
        if len(pairs) == PAIRS or not draw.is_possible:
            break
        filled = templates[number % len(templates)].format_map(draw.forms(generator))
        pair = Pair(_CHOICE.sub(r"\1", filled), _CHOICE.sub(r"\2", filled))
        if pair.right != pair.wrong and words_of(filled) <= known:
            pairs[pair] = None
    return list(pairs)


class _Drawer:
    """Draws the words for one filling of a template."""

    def __init__(self, sets: Sequence[Sequence[Forms]], known: Set[str]) -> None:
        # Words that the corpus lacks would only waste attempts.
        self.sets = [[forms for forms in one if words_of(" ".join(forms.values())) & known] for one in sets]

    @property
    def is_possible(self) -> bool:
        """Whether the corpus has a word for every slot."""
        return all(self.sets)

    def forms(self, generator: np.random.Generator) -> Forms:
        return {slot: form for one in self.sets for slot, form in one[int(generator.integers(len(one)))].items()}


def every_set(language: Language, lexicon: Lexicon) -> list[list[Forms]]:
    """Return what a language has for the slots of templates: of each set, one element is drawn for a filling."""
    nouns = [noun for noun in lexicon.nouns if SUBJECTS & set(noun.tags) and _is_plain(noun)]
    return (_english_sets if language == "en" else _spanish_sets)(nouns, lexicon)


def _is_plain(noun: Noun) -> bool:
    return not (noun.mass or noun.plural_only or noun.proper or " " in noun.en or " " in noun.es)


def _english_sets(nouns: Sequence[Noun], lexicon: Lexicon) -> list[list[Forms]]:
    subjects, objects = [], []
    men: list[str] = []
    women: list[str] = []
    for noun in nouns:
        one, many = noun.english("m", False), noun.english("m", True)
        articles = ("an", "a") if takes_an(one) else ("a", "an")
        subjects.append({"n": one, "ns": many, "a": articles[0], "an": articles[1]})
        objects.append({"o": one, "os": many})
        if noun.en_f or ("family" in noun.tags and noun.g != "mf"):  # of the others, the gender is not in the word
            men += [one] if "m" in noun.genders else []
            women += [noun.english("f", False)] if "f" in noun.genders else []
    adjectives = [a for a in lexicon.adjectives if " " not in a.en and "material" not in a.tags]
    # Not "more honest": of two sentences, a model tends to prefer the shorter one.
    compared = [{"big": a.en, "bigger": a.comparative} for a in adjectives if " " not in a.comparative]
    verbs = [
        {"go": v.base, "goes": v.third, "went": v.past, "gone": v.participle, "going": v.ing}
        for v in lexicon.english_verbs.values()
        if not v.rest and v.base not in ("be", "can")
    ]
    return [
        subjects,
        objects,
        [{"him": m} for m in men],
        [{"her": w} for w in women],
        [{"adj": a.en} for a in adjectives],
        compared,
        verbs,
    ]


def _spanish_sets(nouns: Sequence[Noun], lexicon: Lexicon) -> list[list[Forms]]:
    masculine: list[Forms] = []
    feminine: list[Forms] = []
    for noun in nouns:
        for gender in noun.genders:
            one, many = noun.spanish(gender, False), noun.spanish(gender, True)
            if gender == "m":
                masculine.append({"m": one, "ms": many})
            elif not stressed_a(one):  # el agua
                feminine.append({"f": one, "fs": many})
    adjectives = [
        dict(zip(("alto", "alta", "altos", "altas"), a.spanish, strict=True))
        for a in lexicon.adjectives
        if " " not in a.es and a.pos == "after"
    ]
    return [masculine, feminine, adjectives, list(_spanish_verbs(lexicon))]


def _spanish_verbs(lexicon: Lexicon) -> Iterator[Forms]:
    for verb in lexicon.spanish_verbs.values():
        if verb.rest or verb.reflexive or verb.forms.infinitive in ("ser", "estar", "ir"):
            continue
        forms, finite = verb.forms, verb.forms.finite
        present: Any = finite["pres"]
        yield {
            "ir": forms.infinitive,
            "yendo": forms.gerund,
            "ido": forms.participle,
            **{slot: present[person] for person, slot in enumerate(("voy", "vas", "va", "vamos"))},
            "van": present[5],
            "iba": finite["imp"][2],
            "iban": finite["imp"][5],
            "fue": finite["past"][2],
            "fueron": finite["past"][5],
        }
