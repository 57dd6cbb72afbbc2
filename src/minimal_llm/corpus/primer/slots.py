"""Slots: the variables of a frame, drawn once per story, so that sentences 2 and 5 are about the same dog."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from minimal_llm.corpus.primer.grammar.data import Entry
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon
from minimal_llm.corpus.primer.grammar.spanish import Gender


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
    """A word with any of the tags in `tag` and all of those in `with`; among `only`, if given, and not in `except`."""

    tag: Words = ()
    all_of: Words = Field(default=(), alias="with")
    only: Words = ()
    but: Words = Field(default=(), alias="except")

    @model_validator(mode="after")
    def _is_restricted(self) -> TaggedSlot:
        if not self.tag and not self.only:
            raise ValueError("needs `tag` or `only`")
        return self

    def candidates(self, entries: tuple[Any, ...], section: str, lexicon: Lexicon) -> tuple[Any, ...]:
        """Return the matching entries.

        Raises:
            ValueError: a tag or a word is not in the lexicon.
        """
        for tag in (*self.tag, *self.all_of):
            if tag not in lexicon.tags[section]:
                raise ValueError(f"{tag!r} is not a tag of {section} (see tags.yaml)")
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
    """A noun. `of`: the person slot whose gender it takes. `character`: an animal referred to as he or she."""

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
    """A verb, including the words that follow it."""

    type: Literal["verb"]


class NumberSlot(Entry):
    """A whole number, in words."""

    type: Literal["number"]
    min: int = Field(default=2, ge=2, le=998)
    max: int = Field(ge=2, le=999)

    @model_validator(mode="after")
    def _is_a_range(self) -> NumberSlot:
        if self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class ClockSlot(Entry):
    """A time of day between two hours: at {time}, a {time}."""

    type: Literal["clock"]
    min: int = Field(default=1, ge=1, le=12)
    max: int = Field(default=12, ge=1, le=12)


class PhraseSlot(Entry):
    """A phrase of the lexicon."""

    type: Literal["phrase"]
    tag: str


class Both(Entry):
    """The same text in both languages."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)


class PickSlot(Entry):
    """One of several texts given in the frame itself, as a whole (`{spot}`) or in named parts (`{spot.clue}`)."""

    type: Literal["pick"]
    options: tuple[Both | dict[str, Both], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _same_parts(self) -> PickSlot:
        first = self.parts(0)
        for index, option in enumerate(self.options):
            if set(self.parts(index)) != set(first):
                raise ValueError(f"option {index + 1} and option 1 have different parts: {option}")
        return self

    def parts(self, index: int) -> dict[str, Both]:
        """Return the parts of an option; a plain option has a single part named ''."""
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
    """Expand `noun pet bird`, `person f`, `number 2 9`, a list of options etc. to the long form.

    Raises:
        ValueError: not a valid shorthand.
    """
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
    raise ValueError(f"{value!r} is not a slot: write for example `person`, `noun pet`, `number 2 9` (docs/PRIMER.md)")
