"""The entries of the lexicon: the keys they have in nouns.yaml, verbs.yaml etc., and their forms."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from minimal_llm.corpus.primer.grammar import english, spanish
from minimal_llm.corpus.primer.grammar.data import Entry
from minimal_llm.corpus.primer.grammar.spanish import Gender

Kind = Literal["person", "animal", "thing"]


class Noun(Entry):
    """A noun. `g: mf` marks a person of either gender (doctor: médico, médica)."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)
    g: Literal["m", "f", "mf"]
    pl: str | None = None  # the English plural, if irregular
    en_f: str | None = None  # the English feminine: queen
    es_pl: str | None = None
    es_f: str | None = None
    mass: bool = False  # milk: no plural, no "a"
    plural_only: bool = False  # scissors: en and es are plural forms
    proper: bool = False  # Monday: no article in English
    at: Literal["in", "on", "at"] = "in"  # on the beach
    tags: tuple[str, ...] = Field(min_length=1)
    kind: Kind = "thing"

    @model_validator(mode="after")
    def _forms_are_consistent(self) -> Noun:
        if self.g == "mf" and self.kind != "person":
            raise ValueError("g: mf is only for persons")
        if self.g != "mf" and (self.es_f or self.en_f):
            raise ValueError("es_f and en_f require g: mf")
        if " " in self.es and not (self.plural_only or self.mass or self.es_pl or " de " in self.es):
            raise ValueError("a Spanish noun of several words without 'de' requires es_pl")
        if self.mass and self.plural_only:
            raise ValueError("mass and plural_only are mutually exclusive")
        return self

    def english(self, gender: Gender, many: bool) -> str:
        """Return the English form."""
        return self._english[(2 if many else 0) + (gender == "f")]

    def spanish(self, gender: Gender, many: bool) -> str:
        """Return the Spanish form."""
        return self._spanish[(2 if many else 0) + (gender == "f")]

    @property
    def genders(self) -> tuple[Gender, ...]:
        """Return the genders that this noun can have."""
        return ("m", "f") if self.g == "mf" else (self.g,)

    @cached_property
    def _english(self) -> tuple[str, str, str, str]:
        female = self.en_f or self.en
        if self.plural_only or self.mass:
            return self.en, female, self.en, female
        many = self.pl or english.plural(self.en)
        return self.en, female, many, english.plural(self.en_f) if self.en_f else many

    @cached_property
    def _spanish(self) -> tuple[str, str, str, str]:
        female = (self.es_f or spanish.feminine(self.es)) if self.g == "mf" else self.es
        if self.plural_only or self.mass:
            return self.es, female, self.es, female
        if self.es_pl:
            return self.es, female, self.es_pl, spanish.plural(female) if self.g == "mf" else self.es_pl
        return self.es, female, _plural_of_phrase(self.es), _plural_of_phrase(female)


class Verb(Entry):
    """A verb, possibly with words after it, which never change: `ride a bike`, `montar en bicicleta`."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)
    past: str | None = None
    part: str | None = None
    double: bool = False  # travelled
    stem: Literal["ie", "ue", "i"] | None = None
    accent: bool = False  # envía
    like: str | None = None  # sonreír is like reír
    tags: tuple[str, ...] = ()


class Adjective(Entry):
    """An adjective. `pos: before` puts it before the Spanish noun (buen, gran)."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)
    es_f: str | None = None
    pos: Literal["after", "before"] = "after"
    comp: str | None = None
    sup: str | None = None
    es_comp: str | None = None
    tags: tuple[str, ...] = Field(min_length=1)

    @cached_property
    def spanish(self) -> tuple[str, str, str, str]:
        """Return masculine, feminine and their plurals."""
        return spanish.adjective_forms(self.es, self.es_f)

    @cached_property
    def comparative(self) -> str:
        """Return the English comparative: bigger, more beautiful."""
        return self.comp or english.comparative(self.en)

    @cached_property
    def superlative(self) -> str:
        """Return the English superlative: biggest, most beautiful."""
        return self.sup or english.superlative(self.en)


class Phrase(Entry):
    """A fixed phrase and its translation: `in the morning`, `por la mañana`."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)


class Names(Entry):
    """Names that are the same in both languages."""

    f: tuple[str, ...] = Field(min_length=30)
    m: tuple[str, ...] = Field(min_length=30)
    towns: tuple[str, ...] = Field(min_length=10)
    pets: tuple[str, ...] = Field(min_length=10)

    @model_validator(mode="after")
    def _are_different(self) -> Names:
        every = [*self.f, *self.m, *self.towns, *self.pets]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise ValueError(f"duplicate names: {', '.join(twice)}")
        return self


class Tag(Entry):
    """The meaning of a tag. `of` is the tag that includes it; `kind` applies to the nouns that have it."""

    about: str
    of: str | None = None
    kind: Kind | None = None


def _plural_of_phrase(noun: str) -> str:
    head, _, rest = noun.partition(" ")
    return spanish.plural(head) + (f" {rest}" if rest else "")
