"""Slots: what a frame leaves open. Each is drawn once a story, so that the dog of sentence 2 is that of sentence 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from minimal_llm.corpus.primer.data import Entry
from minimal_llm.corpus.primer.lexicon import Adjective, Kind, Lexicon, Noun, Phrase, Verb
from minimal_llm.corpus.primer.rng import SplitMix64
from minimal_llm.corpus.primer.spanish import Gender

_MOST_TRIES = 40


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class PersonSlot(Entry):
    """A first name."""

    type: Literal["person"]
    gender: Gender | None = None


class TownSlot(Entry):
    """The name of a town."""

    type: Literal["town"]


class PetNameSlot(Entry):
    """The name of an animal; `of` is the slot of that animal."""

    type: Literal["pet_name"]
    of: str


class TaggedSlot(Entry):
    """A word with one of the tags `tag` and all of the tags `with`, among `only`, but none of `except`."""

    tag: Words = ()
    all_of: Words = Field(default=(), alias="with")
    only: Words = ()
    but: Words = Field(default=(), alias="except")

    @model_validator(mode="after")
    def _says_what(self) -> TaggedSlot:
        if not self.tag and not self.only:
            raise ValueError("a tag or a list `only` is needed")
        return self

    def candidates(self, entries: tuple[Any, ...], section: str, lexicon: Lexicon) -> tuple[Any, ...]:
        """Return the entries that fit. Raises ValueError for a tag or a word that is not in the lexicon."""
        for tag in (*self.tag, *self.all_of):
            if tag not in lexicon.tags[section]:
                raise ValueError(f"{tag!r} is not a tag of {section} (tags.yaml)")
        known = {entry.en for entry in entries}
        for word in (*self.only, *self.but):
            if word not in known:
                raise ValueError(f"{word!r} is not an English lemma of {section}")
        return tuple(
            entry
            for entry in entries
            if (not self.tag or any(tag in entry.tags for tag in self.tag))
            and all(tag in entry.tags for tag in self.all_of)
            and (not self.only or entry.en in self.only)
            and entry.en not in self.but
        )


class NounSlot(TaggedSlot):
    """A noun. `of`: the person whose gender it takes. `character`: an animal that is he or she."""

    type: Literal["noun"]
    number: Literal["singular", "plural"] = "singular"
    mass: bool = False
    of: str | None = None
    gender: Gender | None = None
    character: bool = False


class AdjectiveSlot(TaggedSlot):
    """An adjective."""

    type: Literal["adj"]


class VerbSlot(TaggedSlot):
    """A verb, with what follows it."""

    type: Literal["verb"]


class NumberSlot(Entry):
    """A whole number, in words. `above`: greater than that slot."""

    type: Literal["number"]
    min: int = Field(default=2, ge=2, le=998)
    max: int = Field(ge=2, le=999)

    @model_validator(mode="after")
    def _is_a_range(self) -> NumberSlot:
        if self.min >= self.max:
            raise ValueError("min must be below max")
        return self


class ClockSlot(Entry):
    """A time of the clock between two hours: at {time}, a {time}."""

    type: Literal["clock"]
    min: int = Field(default=1, ge=1, le=12)
    max: int = Field(default=12, ge=1, le=12)


class PhraseSlot(Entry):
    """A phrase of the lexicon."""

    type: Literal["phrase"]
    tag: str


class Both(Entry):
    """The same thing said in both languages."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)


class PickSlot(Entry):
    """One of several things that the frame itself says, whole (`{spot}`) or in named parts (`{spot.clue}`)."""

    type: Literal["pick"]
    options: tuple[Both | dict[str, Both], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _same_parts(self) -> PickSlot:
        first = self.parts(0)
        for index, option in enumerate(self.options):
            if set(self.parts(index)) != set(first):
                raise ValueError(f"option {index + 1} has other parts than option 1: {option}")
        return self

    def parts(self, index: int) -> dict[str, Both]:
        """Return the parts of an option; the only part of a plain one is called ''."""
        option = self.options[index]
        return {"": option} if isinstance(option, Both) else option


Slot = (
    PersonSlot
    | TownSlot
    | PetNameSlot
    | NounSlot
    | AdjectiveSlot
    | VerbSlot
    | NumberSlot
    | ClockSlot
    | PhraseSlot
    | PickSlot
)


def from_shorthand(value: Any) -> Any:
    """Turn `noun pet bird`, `person f`, `number 2 9`, `pick` lists and the like into the long form."""
    if isinstance(value, list):
        return {"type": "pick", "options": value}
    if not isinstance(value, str):
        return value
    kind, *rest = value.split()
    match kind:
        case "noun" | "adj" | "verb":
            return {"type": kind, "tag": rest}
        case "phrase" if len(rest) == 1:
            return {"type": kind, "tag": rest[0]}
        case "person" if len(rest) <= 1:
            return {"type": kind, **({"gender": rest[0]} if rest else {})}
        case "number" | "clock" if len(rest) == 2 and all(word.isdigit() for word in rest):
            return {"type": kind, "min": int(rest[0]), "max": int(rest[1])}
        case "pet_name" if len(rest) == 1:
            return {"type": kind, "of": rest[0]}
        case "town" if not rest:
            return {"type": kind}
    raise ValueError(f"{value!r} is no slot: write for example `person`, `noun pet`, `number 2 9` (docs/PRIMER.md)")


class Subject(NamedTuple):
    """What a verb or an adjective agrees with. `person` is 0, 1, 2 for I, you, he."""

    person: int
    many: bool
    gender: Gender
    kind: Kind


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a person or of a pet's name."""

    text: str
    gender: Gender

    def subject(self, many: bool = False) -> Subject:
        """Return how words agree with it."""
        return Subject(2, many, self.gender, "person")


@dataclass(frozen=True, slots=True)
class Thing:
    """The value of a noun slot: the noun, its gender, and whether it is plural throughout."""

    noun: Noun
    gender: Gender
    many: bool
    kind: Kind

    def subject(self, many: bool = False) -> Subject:
        """Return how words agree with it."""
        return Subject(2, many or self.many, self.gender, self.kind)


class Clock(NamedTuple):
    """The value of a clock slot."""

    hour: int
    quarter: int


Value = Name | Thing | Adjective | Verb | Phrase | Clock | int | str


@dataclass(slots=True)
class Scene:
    """The values of one story, and the generator that its wordings are drawn with."""

    values: dict[str, Any]
    rng: SplitMix64


# Draws the value of a slot, given the values before it and what the story has used already.
Draw = Callable[[SplitMix64, Mapping[str, Any], set[str]], Value]


def _fresh(rng: SplitMix64, items: tuple[Any, ...], key: Callable[[Any], str], used: set[str]) -> Any:
    # Two slots of a story never get the same word. When the words run out, one repeats.
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
    """A slot ready to be drawn: `size` is the number of values it can take."""

    draw: Draw
    size: int


def compile_slot(slot: Slot, lexicon: Lexicon, literal: frozenset[str]) -> Compiled:
    """Prepare a slot. `literal` are the words that the frame's own text uses: no noun slot draws one of them.

    Raises:
        ValueError: a tag does not exist, or too few words fit.
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
            numbers = tuple(range(low, low + count))
            return Compiled(lambda rng, _values, used: _fresh(rng, numbers, str, used), count)
        case ClockSlot():
            hours = (slot.max - slot.min) % 12 + 1
            first = slot.min
            return Compiled(
                lambda rng, _values, _used: Clock((first - 1 + rng.below(hours)) % 12 + 1, rng.below(4)), hours * 4
            )
        case PhraseSlot():
            if slot.tag not in lexicon.phrases:
                raise ValueError(f"{slot.tag!r} is not a tag of phrases (tags.yaml)")
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
        raise ValueError(f"only {len(entries)} words fit (words that the frame's own text uses do not count)")
    return entries
