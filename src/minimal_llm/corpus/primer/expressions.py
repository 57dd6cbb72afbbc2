"""Expressions common to both languages (picks, phrases, names, clock times), and how their tokens are classified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from minimal_llm.corpus.primer.grammar import english, spanish
from minimal_llm.corpus.primer.grammar.entries import Adjective, Noun
from minimal_llm.corpus.primer.scene import Name, Scene, Thing
from minimal_llm.corpus.primer.slots import (
    AdjectiveSlot,
    ClockSlot,
    NounSlot,
    NumberSlot,
    PersonSlot,
    PetNameSlot,
    PhraseSlot,
    PickSlot,
    TownSlot,
    VerbSlot,
)
from minimal_llm.corpus.primer.template import Context, Piece

Part = Literal["noun", "adj", "verb", "number", "other"]


@dataclass(frozen=True)
class Token:
    """A word of an expression: a slot (`slot` is its name) or, after =, a lemma of the lexicon."""

    part: Part
    form: str
    slot: str | None = None
    entry: Noun | Adjective | str | None = None  # of a lemma; for a verb, its infinitive

    @property
    def slots(self) -> frozenset[str]:
        """Return the slots used by this token."""
        return frozenset() if self.slot is None else frozenset([self.slot])

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return the value of the slot, or the entry of the lemma."""
        return self.entry if self.slot is None else values[self.slot]

    def thing(self, values: Mapping[str, Any]) -> Name | Thing:
        """Return the value of a noun token."""
        if self.slot is not None:
            value: Name | Thing = values[self.slot]
            return value
        assert isinstance(self.entry, Noun)  # noqa: S101 - implied by `part`
        return Thing(self.entry, self.entry.genders[0], self.entry.plural_only, self.entry.kind)


def token(word: str, context: Context, tenses: frozenset[str], wants_agreement: bool) -> Token | None:
    """Classify a word of an expression; return None if it is neither a slot nor a lemma.

    Raises:
        ValueError: the lemma is not in the lexicon.
    """
    if word.startswith("="):
        return _lemma(word[1:], context, tenses, wants_agreement)
    name, _, form = word.partition(".")
    slot = context.slots.get(name)
    if slot is None:
        return None
    part: Part = "other"
    match slot:
        case NounSlot() | PersonSlot() | PetNameSlot():
            part = "noun"
        case AdjectiveSlot():
            part = "adj"
        case VerbSlot():
            part = "verb"
        case NumberSlot():
            part = "number"
        case _:
            pass
    return Token(part, form, slot=name)


def _lemma(text: str, context: Context, tenses: frozenset[str], wants_agreement: bool) -> Token:
    lemma, _, form = text.partition(".")
    lemma = lemma.replace("_", " ")
    verbs: Mapping[str, Any] = (
        context.lexicon.english_verbs if context.language == "en" else context.lexicon.spanish_verbs
    )
    noun = context.lexicon.noun_by[context.language].get(lemma)
    adjective = context.lexicon.adjective_by[context.language].get(lemma)
    if form in tenses and lemma in verbs:
        return Token("verb", form, entry=lemma)
    if adjective is not None and (noun is None or wants_agreement or form in ("er", "est")):
        return Token("adj", form, entry=adjective)
    if noun is not None:
        return Token("noun", form, entry=noun)
    if lemma in verbs:
        raise ValueError(f"={lemma} is a verb: append a form, one of {', '.join(sorted(tenses))}")
    raise ValueError(
        f"={lemma} is not {'an English' if context.language == 'en' else 'a Spanish'} lemma of the lexicon"
    )


def plain(found: Token, context: Context) -> Piece:
    """Compile a token that needs no agreement: a pick, a phrase, a town or a clock time.

    Raises:
        ValueError: the slot has no such part or form, or is not allowed there.
    """
    name = found.slot or ""
    slot = context.slots[name]
    spanish_wanted = context.language == "es"
    if isinstance(slot, PickSlot):
        parts = context.picks[name]
        if found.form not in parts:
            known = ", ".join(f"{{{name}.{part}}}" if part else f"{{{name}}}" for part in parts)
            raise ValueError(f"{name!r} has no part {found.form!r}, only {known}")
        options = parts[found.form]
        inner = frozenset[str]().union(*(option.slots for option in options))
        return Piece(lambda scene: options[scene.values[name]].render(scene), found.slots | inner)
    if found.form:
        raise ValueError(f"{name!r} has no form {found.form!r}")
    match slot:
        case PhraseSlot():
            return Piece(lambda scene: str(getattr(scene.values[name], context.language)), found.slots)
        case TownSlot():
            return Piece(lambda scene: str(scene.values[name]), found.slots)
        case ClockSlot():
            clock = spanish.clock if spanish_wanted else english.clock
            return Piece(lambda scene: clock(*scene.values[name]), found.slots)
        case _:
            raise ValueError(f"{name!r} is not allowed here")


def number_piece(found: Token, context: Context) -> Piece:
    """Compile a number on its own: {n}, {n.digits}, {n.ord} (English only).

    Raises:
        ValueError: a number has no such form.
    """
    name = found.slot or ""

    def digits(scene: Scene) -> str:
        return str(scene.values[name])

    def words(scene: Scene) -> str:
        value: int = scene.values[name]
        return english.number(value) if context.language == "en" else spanish.number(value, before=False)

    def ordinal(scene: Scene) -> str:
        return english.ordinal(scene.values[name])

    if found.form == "ord" and context.language == "en":
        return Piece(ordinal, found.slots)
    if found.form == "digits":
        return Piece(digits, found.slots)
    if found.form:
        raise ValueError(f"{name!r} has no form {found.form!r} here, only .digits, and .ord before a noun")
    return Piece(words, found.slots)


def check_ordinal(found: Token, context: Context) -> None:
    """Reject an ordinal above ten, which everyday Spanish does not use.

    Raises:
        ValueError: the slot has larger numbers.
    """
    slot = context.slots[found.slot or ""]
    assert isinstance(slot, NumberSlot)  # noqa: S101 - implied by `part`
    if slot.max > 10:
        raise ValueError(f"{found.slot!r} goes up to {slot.max}, but .ord only up to 10")
