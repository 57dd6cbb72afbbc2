"""The template language: text, `[one|another]` and `{expressions}` that agree. Parsed once, rendered many times."""

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
# Compiles an expression of one language: (words, what follows the @, context) -> piece.
CompileWords = Callable[[list[str], str, "Context"], "Piece"]

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
        # For adjectives that agree with a literal word: letras {color @fp}.
        "m": Subject(2, False, "m", "thing"),
        "f": Subject(2, False, "f", "thing"),
        "mp": Subject(2, True, "m", "thing"),
        "fp": Subject(2, True, "f", "thing"),
    },
}


@dataclass(frozen=True)
class Context:
    """Everything that an expression may refer to."""

    language: Language
    slots: Mapping[str, Slot]
    lexicon: Lexicon
    # The compiled parts of `pick` slots: slot -> part -> one template per option.
    picks: Mapping[str, Mapping[str, tuple[Template, ...]]]


@dataclass(frozen=True)
class Piece:
    """A compiled part of a template: its text, the slots it uses, and the number of ways to word it.

    `varied` are the slots that every one of these ways uses; None means all of `slots`.
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
        """Return the text for a scene."""
        return "".join([render(scene) for render in self._renders])

    def ways(self, sizes: Mapping[str, int]) -> int:
        """Return the number of different texts of its least varied sentence."""
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


def parse(source: str, context: Context, compile_words: CompileWords) -> Template:
    """Compile a wording.

    Raises:
        ValueError: a syntax error, or an unknown slot, word or form.
    """
    pieces, end = _sequence(source, 0, "", context, compile_words)
    if end != len(source):
        raise ValueError(f"unmatched {source[end]!r} in {source!r}")
    return Template(source, pieces)


def _sequence(
    source: str, start: int, stops: str, context: Context, compile_words: CompileWords
) -> tuple[list[Piece], int]:
    pieces: list[Piece] = []
    at = start
    while at < len(source) and source[at] not in stops:
        if source[at] == "{":
            end = source.find("}", at)
            if end < 0:
                raise ValueError(f"a {{ is not closed in {source!r}")
            try:
                pieces.append(_expression(source[at + 1 : end].strip(), context, compile_words))
            except ValueError as error:
                raise ValueError(f"{source[at : end + 1]} in {source!r}: {error}") from error
            at = end + 1
        elif source[at] == "[":
            options = []
            while source[at] != "]":
                option, at = _sequence(source, at + 1, "|]", context, compile_words)
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


def _expression(body: str, context: Context, compile_words: CompileWords) -> Piece:
    found = _switch(body, context)
    if found is not None:
        return found
    text, _, reference = body.partition("@")
    words = text.split()
    if not words:
        raise ValueError("is empty")
    capital = words[0][0].isupper()
    words[0] = words[0][0].lower() + words[0][1:]
    piece = compile_words(words, reference.strip(), context)
    if not capital:
        return piece
    return Piece(lambda scene: _capitalized(piece.render(scene)), piece.slots)


def _text(text: str) -> Piece:
    return Piece(lambda _scene: text, frozenset(), literal=text)


def _choice(options: list[Template]) -> Piece:
    if len(options) < 2:
        raise ValueError("[...] needs at least two alternatives, separated by |")
    renders = [option.render for option in options]
    slots = frozenset[str]().union(*(option.slots for option in options))
    common = slots.intersection(*(option.slots for option in options))
    return Piece(lambda scene: scene.rng.choice(renders)(scene), slots, ways=len(options), varied=common)


def _switch(body: str, context: Context) -> Piece | None:
    # Compiles {hero? niño|niña} (by gender) and {things# is|are} (by number); None for any other expression.
    match = _SWITCH.match(body)
    if match is None or "|" not in match[4]:  # {a? un animal} is the personal a
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
        raise ValueError("? needs two alternatives (masculine|feminine), or four (with their plurals)")

    def by_gender(scene: Scene) -> str:
        found = subject(scene)
        return alternatives[(2 if found.many else 0) + (found.gender == "f")]

    return Piece(by_gender, slots)


def subjects(reference: str, context: Context) -> tuple[Subjects, frozenset[str]]:
    """Compile what follows an @: a slot, slots joined by +, a slot in the plural, or a pronoun.

    Returns the function that finds the subject in a scene, and the slots that it uses.

    Raises:
        ValueError: a slot does not exist, or nothing can agree with it.
    """
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
            raise ValueError(f"{name!r} is neither a slot nor one of {', '.join(pronouns)}")
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
    """Return whether a token can be the name of a slot, or of several joined by +."""
    return _REFERENCE.match(token) is not None


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
