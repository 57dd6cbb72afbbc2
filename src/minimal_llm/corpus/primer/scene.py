"""The slot values of a story, and how they are drawn: each slot once per story."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from minimal_llm.corpus.primer.grammar.entries import Adjective, Kind, Noun, Phrase, Verb
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon
from minimal_llm.corpus.primer.grammar.spanish import Gender
from minimal_llm.corpus.primer.rng import SplitMix64
from minimal_llm.corpus.primer.slots import (
    AdjectiveSlot,
    ClockSlot,
    NounSlot,
    NumberSlot,
    PersonSlot,
    PetNameSlot,
    PhraseSlot,
    PickSlot,
    Slot,
    TownSlot,
    VerbSlot,
)

_MOST_TRIES = 40


class Subject(NamedTuple):
    """What a verb or an adjective agrees with. `person` is 0, 1 or 2 for I, you, he."""

    person: int
    many: bool
    gender: Gender
    kind: Kind


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a person slot or of a pet's name."""

    text: str
    gender: Gender

    def subject(self, many: bool = False) -> Subject:
        """Return the subject that other words agree with."""
        return Subject(2, many, self.gender, "person")


@dataclass(frozen=True, slots=True)
class Thing:
    """The value of a noun slot: the noun, its gender, and whether it is always plural."""

    noun: Noun
    gender: Gender
    many: bool
    kind: Kind

    def subject(self, many: bool = False) -> Subject:
        """Return the subject that other words agree with."""
        return Subject(2, many or self.many, self.gender, self.kind)


class Clock(NamedTuple):
    """The value of a clock slot."""

    hour: int
    quarter: int


Value = Name | Thing | Adjective | Verb | Phrase | Clock | int | str


@dataclass(slots=True)
class Scene:
    """The slot values of a story, and the generator that draws its wordings."""

    values: dict[str, Any]
    rng: SplitMix64


# Draws the value of a slot, given the values drawn before and the words that the story already uses.
Draw = Callable[[SplitMix64, Mapping[str, Any], set[str]], Value]


def _fresh(rng: SplitMix64, items: tuple[Any, ...], key: Callable[[Any], str], used: set[str]) -> Any:
    # Two slots of a story never get the same word, unless there are too few words.
    item = rng.choice(items)
    for _ in range(_MOST_TRIES):
        if key(item) not in used:
            break
        item = rng.choice(items)
    used.add(key(item))
    return item


def _lemma(entry: Any) -> str:
    return str(entry.en)


def _itself(text: str) -> str:
    return text


@dataclass(frozen=True)
class Compiled:
    """A compiled slot; `size` is the number of its possible values."""

    draw: Draw
    size: int


def compile_slot(slot: Slot, lexicon: Lexicon, literal: frozenset[str]) -> Compiled:
    """Compile a slot. `literal` are the words of the frame's own text, which noun slots never draw.

    Raises:
        ValueError: a tag does not exist, or too few words match.
    """
    match slot:
        case PersonSlot():
            return _person(slot, lexicon)
        case TownSlot():
            towns = lexicon.names.towns
            return Compiled(lambda rng, _values, used: _fresh(rng, towns, _itself, used), len(towns))
        case PetNameSlot():
            pets, of = lexicon.names.pets, slot.of
            return Compiled(
                lambda rng, values, used: Name(_fresh(rng, pets, _itself, used), values[of].gender), len(pets)
            )
        case NounSlot():
            return _noun(slot, lexicon, literal)
        case AdjectiveSlot():
            return _plain(_enough(slot.candidates(lexicon.adjectives, "adjectives", lexicon)))
        case VerbSlot():
            return _plain(_enough(slot.candidates(lexicon.verbs, "verbs", lexicon)))
        case NumberSlot():
            low, count = slot.min, slot.max - slot.min + 1
            # 21, 31, ... are left out: before a literal noun, the gender that "veintiuno" must agree with is unknown.
            numbers = tuple(n for n in range(low, low + count) if n < 20 or n % 10 != 1)
            return Compiled(lambda rng, _values, used: _fresh(rng, numbers, str, used), count)
        case ClockSlot():
            hours = (slot.max - slot.min) % 12 + 1
            first = slot.min
            return Compiled(
                lambda rng, _values, _used: Clock((first - 1 + rng.below(hours)) % 12 + 1, rng.below(4)), hours * 4
            )
        case PhraseSlot():
            if slot.tag not in lexicon.phrases:
                raise ValueError(f"{slot.tag!r} is not a tag of phrases (see tags.yaml)")
            return _plain(lexicon.phrases[slot.tag])
        case PickSlot():
            count = len(slot.options)
            return Compiled(lambda rng, _values, _used: rng.below(count), count)


def _plain(entries: tuple[Any, ...]) -> Compiled:
    return Compiled(lambda rng, _values, used: _fresh(rng, entries, _lemma, used), len(entries))


def _person(slot: PersonSlot, lexicon: Lexicon) -> Compiled:
    female = tuple(Name(name, "f") for name in lexicon.names.f) if slot.gender != "m" else ()
    male = tuple(Name(name, "m") for name in lexicon.names.m) if slot.gender != "f" else ()
    names = female + male
    return Compiled(lambda rng, _values, used: _fresh(rng, names, lambda name: str(name.text), used), len(names))


def _noun(slot: NounSlot, lexicon: Lexicon, literal: frozenset[str]) -> Compiled:
    many = slot.number == "plural"
    nouns: tuple[Noun, ...] = tuple(
        noun
        for noun in slot.candidates(lexicon.nouns, "nouns", lexicon)
        if noun.mass == slot.mass
        and (many or not noun.plural_only)
        and (slot.gender is None or slot.gender in noun.genders)
        and (noun.en in slot.only or literal.isdisjoint(_every_form(noun)))
    )
    _enough(nouns)
    of, wanted, character = slot.of, slot.gender, slot.character

    def draw(rng: SplitMix64, values: Mapping[str, Any], used: set[str]) -> Thing:
        noun: Noun = _fresh(rng, nouns, _lemma, used)
        gender: Gender
        if len(noun.genders) == 1:
            gender = noun.genders[0]
        elif of is not None:
            gender = values[of].gender
        else:
            gender = wanted or ("m" if rng.below(2) else "f")
        return Thing(noun, gender, many, "person" if character else noun.kind)

    return Compiled(draw, len(nouns))


def _every_form(noun: Noun) -> set[str]:
    forms = {noun.english(gender, many) for gender in noun.genders for many in (False, True)}
    return forms | {noun.spanish(gender, many) for gender in noun.genders for many in (False, True)}


def _enough(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(entries) < 2:
        raise ValueError(
            f"too few matching words: {len(entries)} (minimum: 2, not counting words in the frame's own text)"
        )
    return entries
