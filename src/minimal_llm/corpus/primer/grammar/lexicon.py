"""The lexicon: pairs of English and Spanish words with their forms, read from `words/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.grammar import conjugation, english
from minimal_llm.corpus.primer.grammar.data import Entry, PrimerDataError, folder, problems_of, read_yaml
from minimal_llm.corpus.primer.grammar.entries import Adjective, Names, Noun, Phrase, Tag, Verb

E_ = TypeVar("E_", bound=Entry)


@dataclass(frozen=True)
class EnglishVerb:
    """The forms of an English verb, and the words after it."""

    base: str
    third: str
    past: str
    participle: str
    ing: str
    rest: str


@dataclass(frozen=True)
class SpanishVerb:
    """The forms of a Spanish verb, whether it is reflexive, and the words after it."""

    forms: conjugation.Verb
    reflexive: bool
    rest: str


@dataclass(frozen=True)
class Lexicon:
    """Every word that frames may draw or name."""

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
        """Return the nouns of each language by lemma."""
        return {"en": {n.en: n for n in self.nouns}, "es": {n.es: n for n in self.nouns}}

    @cached_property
    def adjective_by(self) -> dict[str, dict[str, Adjective]]:
        """Return the adjectives of each language by lemma; of two with the same lemma, the first."""
        return {
            "en": {a.en: a for a in reversed(self.adjectives)},
            "es": {a.es: a for a in reversed(self.adjectives)},
        }


@cache
def load_lexicon() -> Lexicon:
    """Read and check the lexicon.

    Raises:
        PrimerDataError: an entry is invalid; the message names the file, the entry and the problem.
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


def irregular_verb(infinitive: str) -> conjugation.Verb:
    """Return the forms of a verb in irregular_es.yaml, even one that is not in the lexicon, like `haber`."""
    return conjugation.Verb(infinitive, overrides=_read("irregular_es.yaml")[infinitive])


def _read(name: str) -> Any:
    content = read_yaml(folder() / name, name)
    if not isinstance(content, dict):
        raise PrimerDataError(name, "is not a mapping")
    return content


def _entry(model: type[E_], value: Any, where: str) -> E_:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PrimerDataError(where, problems_of(error)) from error


def _grouped(model: type[E_], file: str, tags: Mapping[str, Tag]) -> tuple[E_, ...]:
    # A data file maps main tags to entries, which can have more tags, and also get the tags that theirs are `of`.
    entries: list[E_] = []
    seen: set[tuple[str, str]] = set()
    for main, values in _read(file).items():
        if not isinstance(values, list):
            raise PrimerDataError(f"{file}: {main}", "is not a list of entries")
        for value in values:
            if not isinstance(value, dict):
                raise PrimerDataError(f"{file}: {main}: {value}", "is not an entry: write {en: ..., es: ...}")
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
                raise PrimerDataError(where, "duplicate entry")
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
    # "ride a bike" takes its forms from "ride", which must come first. The sort is stable.
    return sorted(verbs, key=lambda verb: " " in getattr(verb, language))
