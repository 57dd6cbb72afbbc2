"""The template language: text, `[one|the other]`, and `{expressions}` that agree. Parsed once, rendered often."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon
from minimal_llm.corpus.primer.scene import Name, Scene, Subject, Thing
from minimal_llm.corpus.primer.slots import NounSlot, PersonSlot, PetNameSlot, Slot

Render = Callable[[Scene], str]
Subjects = Callable[[Scene], Subject]

_REFERENCE = re.compile(r"^[a-z][a-z0-9_]*(?:\+[a-z][a-z0-9_]*)*$")
_SWITCH = re.compile(r"^([a-z][a-z0-9_+]*)((?:\.pl)?)\s*([?#])\s*(.*)$", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?…][”’)]? (?=[“‘¿¡(]*(?:[A-ZÁÉÍÓÚÑ]|$))")
_PRONOUNS: dict[Language, dict[str, Subject]] = {
    "en": {
        "I": Subject(0, False, "m", "person"),
        "you": Subject(1, False, "m", "person"),
        "we": Subject(0, True, "m", "person"),
        "they": Subject(2, True, "m", "person"),
    },
    "es": {
        "yo": Subject(0, False, "m", "person"),
        "tú": Subject(1, False, "m", "person"),
        "usted": Subject(2, False, "m", "person"),
        "nosotros": Subject(0, True, "m", "person"),
        "nosotras": Subject(0, True, "f", "person"),
        "ustedes": Subject(2, True, "m", "person"),
        "ellos": Subject(2, True, "m", "person"),
        "ellas": Subject(2, True, "f", "person"),
        # Literal words that a slot's adjective agrees with: letras {color @fp}.
        "m": Subject(2, False, "m", "thing"),
        "f": Subject(2, False, "f", "thing"),
        "mp": Subject(2, True, "m", "thing"),
        "fp": Subject(2, True, "f", "thing"),
    },
}


@dataclass(frozen=True)
class Context:
    """What an expression may refer to."""

    language: Language
    slots: Mapping[str, Slot]
    lexicon: Lexicon
    # The rendered parts of `pick` slots: slot -> part -> one template for each option.
    picks: Mapping[str, Mapping[str, tuple[Template, ...]]]


@dataclass(frozen=True)
class Piece:
    """A compiled part of a template: what it prints, the slots it uses, and in how many ways it can be worded.

    `varied` are the slots that each of these ways uses; None: all of them.
    """

    render: Render
    slots: frozenset[str]
    ways: int = 1
    literal: str = ""
    varied: frozenset[str] | None = None


class Template:
    """A compiled wording."""

    def __init__(self, source: str, pieces: list[Piece]) -> None:
        self.source = source
        self.pieces = pieces
        self.slots: frozenset[str] = frozenset().union(*(piece.slots for piece in pieces))
        self._renders = [piece.render for piece in pieces]

    def render(self, scene: Scene) -> str:
        """Return the text for the values of a scene."""
        return "".join([render(scene) for render in self._renders])

    def ways(self, sizes: Mapping[str, int]) -> int:
        """Return in how many ways its least varied sentence can come out."""
        least: int | None = None
        slots: set[str] = set()
        wordings = 1

        def close() -> None:
            nonlocal least, wordings
            count = wordings
            for slot in slots:
                count *= sizes[slot]
            least = count if least is None else min(least, count)
            slots.clear()
            wordings = 1

        for piece in self.pieces:
            slots |= piece.slots if piece.varied is None else piece.varied
            wordings *= piece.ways
            if _SENTENCE_END.search(piece.literal):
                close()
        if slots or wordings > 1 or least is None or (self.pieces and not self.pieces[-1].literal.strip(".!?…”’) ")):
            close()
        return least or 1


def parse(source: str, context: Context, compile_expression: Callable[[str, Context], Piece]) -> Template:
    """Compile a wording.

    Raises:
        ValueError: the syntax is wrong, or a slot, a word or a form does not exist.
    """
    pieces, end = _sequence(source, 0, "", context, compile_expression)
    if end != len(source):
        raise ValueError(f"there is a {source[end]!r} too many in {source!r}")
    return Template(source, pieces)


def _sequence(
    source: str, start: int, stops: str, context: Context, compile_expression: Callable[[str, Context], Piece]
) -> tuple[list[Piece], int]:
    pieces: list[Piece] = []
    at = start
    while at < len(source) and source[at] not in stops:
        if source[at] == "{":
            end = source.find("}", at)
            if end < 0:
                raise ValueError(f"a {{ is not closed in {source!r}")
            try:
                pieces.append(compile_expression(source[at + 1 : end].strip(), context))
            except ValueError as error:
                raise ValueError(f"{source[at : end + 1]} in {source!r}: {error}") from error
            at = end + 1
        elif source[at] == "[":
            options = []
            while source[at] != "]":
                option, at = _sequence(source, at + 1, "|]", context, compile_expression)
                if at == len(source):
                    raise ValueError(f"a [ is not closed in {source!r}")
                options.append(Template("", option))
            pieces.append(_choice(options))
            at += 1
        elif source[at] in "}]":
            break
        else:
            end = min(
                (place for place in (source.find(mark, at) for mark in "{[}]" + stops) if place >= 0),
                default=len(source),
            )
            pieces.append(_text(source[at:end]))
            at = end
    return pieces, at


def _text(text: str) -> Piece:
    return Piece(lambda _scene: text, frozenset(), literal=text)


def _choice(options: list[Template]) -> Piece:
    if len(options) < 2:
        raise ValueError("[...] needs at least two alternatives, separated by |")
    renders = [option.render for option in options]
    slots = frozenset[str]().union(*(option.slots for option in options))
    common = slots.intersection(*(option.slots for option in options))
    return Piece(lambda scene: scene.rng.choice(renders)(scene), slots, ways=len(options), varied=common)


def switch(body: str, context: Context) -> Piece | None:
    """Compile `{hero? niño|niña}` (by gender) and `{things# is|are}` (by number), if the expression is one."""
    match = _SWITCH.match(body)
    if match is None or "|" not in match[4]:  # {a? un animal} is something else
        return None
    reference, form, mark, rest = match.groups()
    alternatives = [part.strip() for part in rest.split("|")]
    subject, slots = subjects(reference + form, context)
    if mark == "#":
        if len(alternatives) != 2:
            raise ValueError("# needs two alternatives: singular|plural")
        one, several = alternatives
        return Piece(lambda scene: several if subject(scene).many else one, slots)
    if len(alternatives) == 2:
        alternatives += alternatives
    if len(alternatives) != 4:
        raise ValueError("? needs two alternatives, masculine|feminine, or four with their plurals")

    def by_gender(scene: Scene) -> str:
        found = subject(scene)
        return alternatives[(2 if found.many else 0) + (found.gender == "f")]

    return Piece(by_gender, slots)


def subjects(reference: str, context: Context) -> tuple[Subjects, frozenset[str]]:
    """Compile what follows an @: a slot, slots joined by +, a slot in the plural, or a pronoun."""
    pronouns = _PRONOUNS[context.language]
    if reference in pronouns:
        found = pronouns[reference]
        return (lambda _scene: found), frozenset()
    many = reference.endswith(".pl")
    names = reference.removesuffix(".pl").split("+")
    first = [name for name in names if name in ("I", "yo")]
    slots = [name for name in names if name not in first]
    for name in slots:
        slot = context.slots.get(name)
        if slot is None:
            raise ValueError(f"{name!r} is not a slot (nor one of {', '.join(pronouns)})")
        if not isinstance(slot, PersonSlot | PetNameSlot | NounSlot):
            raise ValueError(f"{name!r} is not a person, an animal or a thing")
    if not slots:
        raise ValueError(f"{reference!r} is not one of {', '.join(pronouns)}")
    if len(names) == 1:
        name = names[0]
        if many and not isinstance(context.slots[name], NounSlot):
            raise ValueError(f"{name!r} has no plural")
        return (lambda scene: scene.values[name].subject(many)), frozenset(names)

    def together(scene: Scene) -> Subject:
        values: list[Name | Thing] = [scene.values[name] for name in slots]
        female = all(value.gender == "f" for value in values) and not first
        kind = values[0].subject().kind
        return Subject(0 if first else 2, True, "f" if female else "m", kind)

    return together, frozenset(slots)


def is_reference(token: str) -> bool:
    """Say whether a token can be the name of a slot, or of several joined by +."""
    return _REFERENCE.match(token) is not None


def capitalised(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
