"""English expressions: noun phrases, pronouns, adjectives and verbs that agree with their slots."""

from __future__ import annotations

from typing import Any

from minimal_llm.corpus.primer.expressions import Token, number_piece, plain, token
from minimal_llm.corpus.primer.grammar import english
from minimal_llm.corpus.primer.grammar.lexicon import EnglishVerb
from minimal_llm.corpus.primer.scene import Name, Scene, Subject, Thing
from minimal_llm.corpus.primer.slots import NounSlot
from minimal_llm.corpus.primer.template import Context, Piece, is_reference, subjects

TENSES = frozenset({"inf", "pres", "past", "part", "ing"})

_PRONOUNS = {
    **dict.fromkeys(("he", "she", "it", "they"), ("he", "she", "it", "they")),
    **dict.fromkeys(("him", "them"), ("him", "her", "it", "them")),
    **dict.fromkeys(("his", "its", "their"), ("his", "her", "its", "their")),
    **dict.fromkeys(("hers", "theirs"), ("his", "hers", "its", "theirs")),
    **dict.fromkeys(("himself", "herself", "itself", "themselves"), ("himself", "herself", "itself", "themselves")),
}
# determiner -> its form before a plural, or None if it cannot precede one
_DETERMINERS: dict[str, str | None] = {
    "a": "some",
    "an": "some",
    "the": "the",
    "this": "these",
    "that": "those",
    "these": "these",
    "those": "those",
    "some": "some",
    "many": "many",
    "all": "all",
    "every": None,
    "each": None,
    "another": "other",
    "no": "no",
    "my": "my",
    "your": "your",
    "our": "our",
}
_MAKES_PLURAL = ("these", "those", "many", "all")
_NUMBERS = {english.number(value): value for value in range(1, 13)}
_ADVERBS = ("very", "so", "too", "quite", "rather", "really", "other", "same", "more", "most")


def compile_words(words: list[str], reference: str, context: Context) -> Piece:
    """Compile an English expression: its words, and what follows the @ (empty if there is none).

    Raises:
        ValueError: it refers to something that does not exist or is not allowed there.
    """
    if len(words) == 1:
        pronoun = _pronoun(words[0], context)
        if pronoun is not None:
            return pronoun
        only = token(words[0], context, TENSES, bool(reference))
        if only is not None and only.part == "verb":
            return _verb(only, reference, context)
        if only is not None and only.part == "adj":
            return Piece(lambda scene: _adjective(only, scene), only.slots)
        if only is not None and only.part == "number":
            return number_piece(only, context)
        if only is not None and only.part == "other":
            return plain(only, context)
    if reference:
        raise ValueError("@ is only allowed after a verb or an adjective")
    return _group(words, context)


def _pronoun(word: str, context: Context) -> Piece | None:
    reference, _, form = word.rpartition(".")
    if form in ("her", "hers") and form == "her" and is_reference(reference):
        raise ValueError("write .him (she saw her) or .his (her dog)")
    if form not in _PRONOUNS or not is_reference(reference):
        return None
    forms = _PRONOUNS[form]
    subject, slots = subjects(reference, context)

    def render(scene: Scene) -> str:
        found = subject(scene)
        if found.many:
            return forms[3]
        return forms[2] if found.kind != "person" else forms[found.gender == "f"]

    return Piece(render, slots)


def _adjective(found: Token, scene: Scene) -> str:
    entry = found.value(scene.values)
    text: str = {"": entry.en, "er": entry.comparative, "est": entry.superlative}[found.form]
    return text


def conjugate(verb: EnglishVerb, tense: str, subject: Subject) -> str:
    """Return the form of a verb that agrees with its subject, plus the words that follow the verb."""
    third = subject.person == 2 and not subject.many
    if tense == "pres":
        form = verb.third if third else "am" if verb.base == "be" and subject.person == 0 else verb.base
        if verb.base == "be" and not third:
            form = "am" if subject.person == 0 and not subject.many else "are"
    elif tense == "past":
        plural_be = verb.base == "be" and (subject.many or subject.person == 1)
        form = "were" if plural_be else verb.past
    else:
        form = {"inf": verb.base, "part": verb.participle, "ing": verb.ing}[tense]
    return form + verb.rest.replace("one's", _own(subject))


def _own(subject: Subject) -> str:
    if subject.person < 2:
        return (("my", "our"), ("your", "your"))[subject.person][subject.many]
    if subject.many:
        return "their"
    return "its" if subject.kind != "person" else ("her" if subject.gender == "f" else "his")


def _verb(found: Token, reference: str, context: Context) -> Piece:
    if found.form not in TENSES:
        raise ValueError(f"a verb needs a form, one of {', '.join(sorted(TENSES))}")
    verbs, tense = context.lexicon.english_verbs, found.form
    third = Subject(2, False, "m", "person")
    subject, slots = subjects(reference, context) if reference else ((lambda _scene: third), frozenset[str]())

    def render(scene: Scene) -> str:
        entry = found.value(scene.values)
        return conjugate(verbs[entry if isinstance(entry, str) else entry.en], tense, subject(scene))

    return Piece(render, slots | found.slots)


def _group(words: list[str], context: Context) -> Piece:
    tokens = [token(word, context, TENSES, False) for word in words]
    nouns = [found for found in tokens if found is not None and found.part == "noun"]
    last = tokens[-1]
    if not nouns and last is not None and last.part == "adj" and words[:-1] in (["a"], ["an"], ["the"]):
        article = words[0]
        return Piece(lambda scene: f"{article} {_adjective(last, scene)}", last.slots)
    if len(nouns) != 1 or last is not nouns[0]:
        unknown = [word for word, found in zip(words, tokens, strict=True) if found is None and not _is_word(word)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is neither a slot nor a determiner (or a word of the lexicon: =word)")
        raise ValueError("a noun phrase needs exactly one noun, at its end")
    noun = nouns[0]
    if noun.form not in ("", "pl"):
        raise ValueError(f"a noun has no form {noun.form!r}")
    slot = context.slots.get(noun.slot or "")
    makes_plural = noun.form == "pl" or any(word in _MAKES_PLURAL or _NUMBERS.get(word, 1) > 1 for word in words)
    numbers = [found for found in tokens if found is not None and found.part == "number" and found.form != "ord"]
    _check(words, noun, slot, makes_plural, bool(numbers))
    number_slot = numbers[0].slot if numbers else None

    def render(scene: Scene) -> str:
        value = noun.thing(scene.values)
        if isinstance(value, Name):
            return value.text
        many = makes_plural or value.many or (number_slot is not None and scene.values[number_slot] != 1)
        return " ".join(
            [_word(word, found, scene, value, many) for word, found in zip(words, tokens, strict=True)]
        ).lstrip()

    used = frozenset[str]().union(*(found.slots for found in tokens if found is not None))
    return Piece(render, used)


def _is_word(word: str) -> bool:
    return word in _DETERMINERS or word in _NUMBERS or word in _ADVERBS or word == "at"


def _check(words: list[str], noun: Token, slot: Any, makes_plural: bool, counted: bool) -> None:
    mass = slot.mass if isinstance(slot, NounSlot) else getattr(noun.entry, "mass", False)
    plural = makes_plural or counted or (isinstance(slot, NounSlot) and slot.number == "plural")
    for word in words:
        if word in _DETERMINERS and _DETERMINERS[word] is None and plural:
            raise ValueError(f"{word!r} cannot precede a plural")
    if mass and (plural or words[0] in ("a", "an", "another")):
        raise ValueError("a mass noun has no plural and takes no 'a': write {some ...} or omit the article")


def _word(word: str, found: Token | None, scene: Scene, value: Thing, many: bool) -> str:
    if found is None:
        if word == "at":
            return f"{value.noun.at} the"
        if many:
            return _DETERMINERS.get(word, word) or word
        return word
    if found.part == "noun":
        return value.noun.english(value.gender, many)
    if found.part == "adj":
        return _adjective(found, scene)
    number: int = scene.values[found.slot or ""]
    return english.ordinal(number) if found.form == "ord" else english.number(number)
