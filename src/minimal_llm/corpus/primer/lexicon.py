"""The lexicon: paired English and Spanish words with their forms, read from `data/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from minimal_llm.corpus.primer import conjugation, english, spanish
from minimal_llm.corpus.primer.data import Entry, PrimerDataError, folder, problems_of, read_yaml
from minimal_llm.corpus.primer.spanish import Gender
from minimal_llm.language import Language

Kind = Literal["person", "animal", "thing"]
E_ = TypeVar("E_", bound=Entry)


class Noun(Entry):
    """A noun. `g: mf` is a person of either gender (doctor: médico, médica)."""

    en: str = Field(min_length=1)
    es: str = Field(min_length=1)
    g: Literal["m", "f", "mf"]
    pl: str | None = None  # the English plural, if irregular
    en_f: str | None = None  # the English feminine: queen
    es_pl: str | None = None
    es_f: str | None = None
    mass: bool = False  # milk: no plural, no a
    plural_only: bool = False  # scissors: en and es are plural forms
    proper: bool = False  # Monday: no article in English
    at: Literal["in", "on", "at"] = "in"  # on the beach
    tags: tuple[str, ...] = Field(min_length=1)
    kind: Kind = "thing"

    @model_validator(mode="after")
    def _forms_are_there(self) -> Noun:
        if self.g == "mf" and self.kind != "person":
            raise ValueError("g: mf is for persons")
        if self.g != "mf" and (self.es_f or self.en_f):
            raise ValueError("es_f and en_f need g: mf")
        if " " in self.es and not (self.plural_only or self.mass or self.es_pl or " de " in self.es):
            raise ValueError("a Spanish noun of several words without 'de' needs es_pl")
        if self.mass and self.plural_only:
            raise ValueError("mass and plural_only exclude each other")
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
    """A verb, or a verb with what follows it: `ride a bike`, `montar en bicicleta` (the first word changes)."""

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
    """An adjective. `pos: before` stands before the Spanish noun (buen, gran)."""

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
        """Return bigger, more beautiful."""
        return self.comp or english.comparative(self.en)

    @cached_property
    def superlative(self) -> str:
        """Return biggest, most beautiful."""
        return self.sup or english.superlative(self.en)


class Phrase(Entry):
    """Fixed words that mean the same: `in the morning`, `por la mañana`."""

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
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self


class Tag(Entry):
    """What a tag means. A noun's tags take the `kind` of its main tag; `of` is a tag that includes this one."""

    about: str
    of: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True)
class EnglishVerb:
    """The forms of an English verb, and what follows it."""

    base: str
    third: str
    past: str
    participle: str
    ing: str
    rest: str


@dataclass(frozen=True)
class SpanishVerb:
    """The forms of a Spanish verb, whether it is reflexive, and what follows it."""

    forms: conjugation.Verb
    reflexive: bool
    rest: str


@dataclass(frozen=True)
class Lexicon:
    """Every word that the frames may draw or name, by its lemma in either language."""

    nouns: tuple[Noun, ...]
    verbs: tuple[Verb, ...]
    adjectives: tuple[Adjective, ...]
    phrases: Mapping[str, tuple[Phrase, ...]]
    names: Names
    tags: Mapping[str, Mapping[str, Tag]]  # nouns, verbs, adjectives, phrases -> tag
    english_verbs: Mapping[str, EnglishVerb]
    spanish_verbs: Mapping[str, SpanishVerb]

    @cached_property
    def noun_by(self) -> dict[str, dict[str, Noun]]:
        """Return the nouns by lemma, per language."""
        return {"en": {n.en: n for n in self.nouns}, "es": {n.es: n for n in self.nouns}}

    @cached_property
    def adjective_by(self) -> dict[str, dict[str, Adjective]]:
        """Return the adjectives by lemma, per language. Where two share one, the first counts."""
        return {
            "en": {a.en: a for a in reversed(self.adjectives)},
            "es": {a.es: a for a in reversed(self.adjectives)},
        }

    def tagged(self, entries: Iterable[E_], tags: Iterable[str]) -> tuple[E_, ...]:
        """Return the entries that have one of the tags, in the order of the data file."""
        wanted = frozenset(tags)
        return tuple(entry for entry in entries if not wanted.isdisjoint(getattr(entry, "tags", ())))


@cache
def load_lexicon() -> Lexicon:
    """Read and check the lexicon.

    Raises:
        PrimerDataError: an entry is wrong; the message names file, entry and fault.
    """
    tags = {
        section: {name: _entry(Tag, value, f"tags.yaml: {section}.{name}") for name, value in entries.items()}
        for section, entries in _read("tags.yaml").items()
    }
    nouns = _nouns(tags["nouns"])
    verbs = _grouped(Verb, "verbs.yaml", tags["verbs"])
    adjectives = _grouped(Adjective, "adjectives.yaml", tags["adjectives"])
    phrases = {
        tag: tuple(_entry(Phrase, value, f"phrases.yaml: {tag}: {value}") for value in values)
        for tag, values in _read("phrases.yaml").items()
    }
    for tag in phrases:
        if tag not in tags["phrases"]:
            raise PrimerDataError("phrases.yaml", f"tag {tag!r} is not in tags.yaml")
    return Lexicon(
        nouns=nouns,
        verbs=verbs,
        adjectives=adjectives,
        phrases=phrases,
        names=_entry(Names, _read("names.yaml"), "names.yaml"),
        tags=tags,
        english_verbs=_english_verbs(verbs),
        spanish_verbs=_spanish_verbs(verbs),
    )


def _read(name: str) -> Any:
    return read_yaml(folder() / name, name)


def _entry(model: type[E_], value: Any, where: str) -> E_:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PrimerDataError(where, problems_of(error)) from error


def _grouped(model: type[E_], file: str, tags: Mapping[str, Tag]) -> tuple[E_, ...]:
    # A data file is a mapping of a tag to entries; an entry's own tags come on top, and what a tag is `of`.
    entries: list[E_] = []
    seen: set[tuple[str, str]] = set()
    for main, values in _read(file).items():
        for value in values:
            where = f"{file}: {main}: {value.get('en', value)}"
            own = [main, *value.get("tags", ())] if main != "general" else list(value.get("tags", ()))
            every: list[str] = []
            for tag in own:
                step: str | None = tag
                while step is not None:
                    if step not in tags:
                        raise PrimerDataError(where, f"tag {step!r} is not in tags.yaml")
                    if step not in every:
                        every.append(step)
                    step = tags[step].of
            extra: dict[str, Any] = {"tags": every}
            if model is Noun:
                extra["kind"] = next((tags[tag].kind for tag in every if tags[tag].kind), None) or "thing"
            entry = _entry(model, {**value, **extra}, where)
            key = (value["en"], value["es"])
            if key in seen:
                raise PrimerDataError(where, "is there twice")
            seen.add(key)
            entries.append(entry)
    return tuple(entries)


def _nouns(tags: Mapping[str, Tag]) -> tuple[Noun, ...]:
    nouns = _grouped(Noun, "nouns.yaml", tags)
    for language in ("en", "es"):
        seen: set[str] = set()
        for noun in nouns:
            lemma = getattr(noun, language)
            if lemma in seen:
                raise PrimerDataError(f"nouns.yaml: {noun.en}", f"{lemma!r} is the lemma of two nouns")
            seen.add(lemma)
    return nouns


def _english_verbs(verbs: Iterable[Verb]) -> dict[str, EnglishVerb]:
    every: dict[str, EnglishVerb] = {}
    for verb in _heads_first(verbs, "en"):
        word, _, rest = verb.en.partition(" ")
        if rest:
            if word not in every:
                raise PrimerDataError(f"verbs.yaml: {verb.en}", f"{word!r} needs an entry of its own")
            every.setdefault(verb.en, replace(every[word], rest=f" {rest}"))
            continue
        past = verb.past or english.past(word, verb.double)
        third = {"have": "has", "be": "is", "can": "can"}.get(word) or english.third_person(word)
        forms = EnglishVerb(word, third, past, verb.part or past, english.ing(word, verb.double), "")
        every.setdefault(word, forms)
    return every


def _spanish_verbs(verbs: Iterable[Verb]) -> dict[str, SpanishVerb]:
    irregular = _read("irregular_es.yaml")
    made: dict[str, conjugation.Verb] = {}
    every: dict[str, SpanishVerb] = {}

    def make(infinitive: str, verb: Verb | None) -> conjugation.Verb:
        if infinitive in made:
            return made[infinitive]
        if verb and verb.like:
            if not infinitive.endswith(verb.like):
                raise PrimerDataError(f"verbs.yaml: {verb.en}", f"{infinitive!r} does not end in {verb.like!r}")
            model = make(verb.like, by_infinitive.get(verb.like))
            made[infinitive] = conjugation.prefixed(infinitive[: -len(verb.like)], model, infinitive)
        else:
            table = dict(irregular.get(infinitive, {}))
            stem = table.pop("stem", None) or (verb.stem if verb else None)
            made[infinitive] = conjugation.Verb(infinitive, stem, verb.accent if verb else False, table)
        return made[infinitive]

    def infinitive_of(word: str) -> str:
        return word[:-2] if word.endswith(("arse", "erse", "irse", "írse")) else word

    ordered = _heads_first(verbs, "es")
    by_infinitive: dict[str, Verb] = {}
    for verb in ordered:
        by_infinitive.setdefault(infinitive_of(verb.es.partition(" ")[0]), verb)
    for verb in ordered:
        word, _, rest = verb.es.partition(" ")
        infinitive = infinitive_of(word)
        if not infinitive.endswith(("ar", "er", "ir", "ír")):
            raise PrimerDataError(f"verbs.yaml: {verb.en}", f"{infinitive!r} is not a Spanish infinitive")
        if rest and infinitive not in made:
            raise PrimerDataError(f"verbs.yaml: {verb.en}", f"{infinitive!r} needs an entry of its own")
        forms = make(infinitive, verb)
        every.setdefault(verb.es, SpanishVerb(forms, infinitive != word, f" {rest}" if rest else ""))
    return every


def _heads_first(verbs: Iterable[Verb], language: Language) -> list[Verb]:
    # "ride a bike" takes its forms from "ride". The sort is stable.
    return sorted(verbs, key=lambda verb: " " in getattr(verb, language))


def _plural_of_phrase(noun: str) -> str:
    head, _, rest = noun.partition(" ")
    return spanish.plural(head) + (f" {rest}" if rest else "")
