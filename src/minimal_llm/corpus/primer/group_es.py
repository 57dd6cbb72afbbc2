"""Spanish expressions: noun phrases with agreeing adjectives, pronouns and conjugated verbs."""

from __future__ import annotations

from minimal_llm.corpus.primer.expressions import Token, check_ordinal, number_piece, plain, token
from minimal_llm.corpus.primer.grammar import spanish
from minimal_llm.corpus.primer.grammar.conjugation import FINITE, REFLEXIVE, attach
from minimal_llm.corpus.primer.grammar.lexicon import SpanishVerb
from minimal_llm.corpus.primer.grammar.spanish import DETERMINERS, Gender
from minimal_llm.corpus.primer.scene import Name, Scene, Subject
from minimal_llm.corpus.primer.slots import NounSlot
from minimal_llm.corpus.primer.template import Context, Piece, is_reference, subjects

TENSES = frozenset({*FINITE, "inf", "ger", "part"})

_PRONOUNS = {
    "él": ("él", "ella", "ellos", "ellas"),
    "lo": ("lo", "la", "los", "las"),
    "le": ("le", "le", "les", "les"),
    "suyo": ("suyo", "suya", "suyos", "suyas"),
    "este": ("este", "esta", "estos", "estas"),
    "uno": ("uno", "una", "unos", "unas"),
    "mismo": ("mismo", "misma", "mismos", "mismas"),
}
_PLURAL_DETERMINERS = {
    **{forms[2]: name for name, forms in DETERMINERS.items() if forms[2] != forms[0]},
}
_FEMININE = {
    form: name
    for name, forms in DETERMINERS.items()
    for form in (forms[1], forms[3])
    if form not in (forms[0], forms[2])
}
_NUMBERS = {spanish.number(value, before=False): value for value in range(2, 13)}
_ADVERBS = ("muy", "más", "tan", "bastante", "demasiado")


def compile_words(words: list[str], reference: str, context: Context) -> Piece:
    """Compile a Spanish expression: its words, and what follows the @ (empty if there is none).

    Raises:
        ValueError: it refers to something that does not exist or is not allowed there.
    """
    if len(words) == 1:
        pronoun = _pronoun(words[0], context)
        if pronoun is not None:
            return pronoun
    last = token(words[-1], context, TENSES, bool(reference))
    if last is not None and last.part == "verb" and len(words) == 1:
        return _verb(last, reference, context)
    if last is not None and last.part == "adj" and reference:
        return _predicate(words[:-1], last, reference, context)
    if reference:
        raise ValueError("@ is only allowed after a verb or an adjective")
    if len(words) == 1 and last is not None and last.part == "number":
        return number_piece(last, context)
    if len(words) == 1 and last is not None and last.part == "other":
        return plain(last, context)
    return _group(words, context)


def _pronoun(word: str, context: Context) -> Piece | None:
    reference, _, form = word.rpartition(".")
    if not is_reference(reference):
        return None
    for forms in _PRONOUNS.values():
        if form in forms[1:] and form not in _PRONOUNS:
            raise ValueError(f"write .{forms[0]}: agreement is automatic")
    if form not in _PRONOUNS:
        return None
    forms = _PRONOUNS[form]
    subject, slots = subjects(reference, context)

    def render(scene: Scene) -> str:
        found = subject(scene)
        return spanish.pick(forms, found.gender, found.many)

    return Piece(render, slots)


def _predicate(adverbs: list[str], found: Token, reference: str, context: Context) -> Piece:
    for word in adverbs:
        if word not in _ADVERBS:
            raise ValueError(f"{word!r} cannot precede an adjective with @")
    before = "".join(word + " " for word in adverbs)
    subject, slots = subjects(reference, context)

    def render(scene: Scene) -> str:
        agrees = subject(scene)
        return before + _adjective(found, scene, agrees.gender, agrees.many)

    return Piece(render, slots | found.slots)


def _adjective(found: Token, scene: Scene, gender: Gender, many: bool) -> str:
    entry = found.value(scene.values)
    if found.form == "er":
        if entry.es_comp:
            return spanish.pick(spanish.adjective_forms(entry.es_comp), gender, many)
        return "más " + spanish.pick(entry.spanish, gender, many)
    if found.form:
        raise ValueError(f"an adjective has no form {found.form!r}, only .er")
    return spanish.pick(entry.spanish, gender, many)


def conjugate(verb: SpanishVerb, tense: str, subject: Subject) -> str:
    """Return the form of a verb that agrees with its subject, with its reflexive pronoun and the words that follow."""
    person = subject.person + (3 if subject.many else 0)
    pronoun = REFLEXIVE[person] if verb.reflexive else ""
    if tense == "part":
        forms = spanish.adjective_forms(verb.forms.participle)
        return spanish.pick(forms, subject.gender, subject.many) + verb.rest
    if tense == "inf":
        form = verb.forms.infinitive
    elif tense == "ger":
        form = verb.forms.gerund
    else:
        form = verb.forms.finite[tense][person]
        if tense != "imper":
            return (f"{pronoun} {form}" if pronoun else form) + verb.rest
    return (attach(form, pronoun) if pronoun else form) + verb.rest


def _verb(found: Token, reference: str, context: Context) -> Piece:
    if found.form not in TENSES:
        raise ValueError(f"a verb needs a form, one of {', '.join(sorted(TENSES))}")
    verbs, tense = context.lexicon.spanish_verbs, found.form
    default = Subject(1, False, "m", "person") if tense == "imper" else Subject(2, False, "m", "person")
    subject, slots = subjects(reference, context) if reference else ((lambda _scene: default), frozenset[str]())

    def render(scene: Scene) -> str:
        entry = found.value(scene.values)
        return conjugate(verbs[entry if isinstance(entry, str) else entry.es], tense, subject(scene))

    return Piece(render, slots | found.slots)


class _Shape:
    """A noun phrase taken apart: the words before the noun, the noun, and its adjectives."""

    def __init__(self, words: list[str], context: Context) -> None:
        self.prefix = ""  # "a " or "de ", later contracted with el
        self.personal = False
        self.determiners: list[str] = []
        self.number: int | None = None
        self.counter: Token | None = None
        self.ordinal: Token | None = None
        self.adjectives: list[tuple[str, Token, bool]] = []  # adverb, adjective, whether it must precede the noun
        self.noun: Token | None = None
        self.many = False
        self.slots: frozenset[str] = frozenset()
        adverb = ""
        for position, word in enumerate(words):
            if word == "a?" and position == 0:
                self.personal = True
                continue
            before = word.startswith("<")
            found = token(word.removeprefix("<"), context, TENSES, False)
            if found is None:
                if word in _ADVERBS:
                    adverb = word + " "
                else:
                    self._word(word)
                continue
            self._token(found, adverb, before, context)
            if found.part == "adj":
                adverb = ""
        if self.noun is None:
            raise ValueError("has no noun (an adjective on its own names what it agrees with: {mood @hero})")
        if self.noun.form not in ("", "pl"):
            raise ValueError(f"a noun has no form {self.noun.form!r}")
        self.many = self.many or self.noun.form == "pl" or (self.number or 1) > 1
        slot = context.slots.get(self.noun.slot or "")
        mass = slot.mass if isinstance(slot, NounSlot) else getattr(self.noun.entry, "mass", False)
        if mass and (self.many or self.counter or "un" in self.determiners):
            raise ValueError("a mass noun has no plural and takes no 'un': write {el ...} or omit the article")
        self.slots = frozenset[str]().union(
            self.noun.slots,
            *(found.slots for found in (self.counter, self.ordinal) if found is not None),
            *(found.slots for _, found, _ in self.adjectives),
        )

    def _word(self, word: str) -> None:
        if word in ("del", "al"):
            self.prefix = {"del": "de ", "al": "a "}[word]
            self.determiners.append("el")
        elif word in DETERMINERS:
            self.determiners.append(word)
        elif word in _PLURAL_DETERMINERS:
            self.determiners.append(_PLURAL_DETERMINERS[word])
            self.many = True
        elif word in _NUMBERS:
            self.number = _NUMBERS[word]
        elif word in _FEMININE:
            raise ValueError(f"write {_FEMININE[word]!r}, not {word!r}: agreement is automatic")
        else:
            raise ValueError(f"{word!r} is neither a slot nor a determiner (or a word of the lexicon: =palabra)")

    def _token(self, found: Token, adverb: str, before: bool, context: Context) -> None:
        if found.part == "noun":
            if self.noun is not None:
                raise ValueError("a noun phrase has only one noun")
            self.noun = found
        elif found.part == "adj":
            self.adjectives.append((adverb, found, before))
        elif found.part == "number" and found.form == "ord":
            check_ordinal(found, context)
            self.ordinal = found
        elif found.part == "number":
            self.counter = found
        else:
            raise ValueError(f"{found.slot or found.entry!r} cannot be part of a noun phrase")


def _group(words: list[str], context: Context) -> Piece:
    shape = _Shape(words, context)
    noun = shape.noun
    assert noun is not None  # noqa: S101 - _Shape raises otherwise
    return Piece(lambda scene: _render(shape, noun, scene), shape.slots)


def _render(shape: _Shape, noun: Token, scene: Scene) -> str:
    value = noun.thing(scene.values)
    if isinstance(value, Name):
        return (shape.prefix or ("a " if shape.personal else "")) + value.text
    counted: int | None = shape.number
    if shape.counter is not None and shape.counter.slot is not None:
        counted = scene.values[shape.counter.slot]
    many = shape.many or value.many or (counted is not None and counted != 1)
    gender = value.gender
    word = value.noun.spanish(gender, many)
    before, after = _adjectives(shape, scene, gender, many)
    parts: list[str] = []
    if counted is not None:
        parts.append(spanish.number(counted, gender))
    parts += before
    _prepend_determiners(parts, shape, word, gender, many)
    prefix = shape.prefix
    if shape.personal and value.noun.kind != "thing":
        prefix = "a "
    return prefix + " ".join([*parts, word, *after])


def _prepend_determiners(parts: list[str], shape: _Shape, word: str, gender: Gender, many: bool) -> None:
    for name in reversed(shape.determiners):
        parts.insert(0, spanish.determiner(name, gender, many, parts[0] if parts else word, not parts))


def _adjectives(shape: _Shape, scene: Scene, gender: Gender, many: bool) -> tuple[list[str], list[str]]:
    before: list[str] = []
    single: list[str] = []
    phrases: list[str] = []
    if shape.ordinal is not None:
        before.append(spanish.before_noun(spanish.ordinal(scene.values[shape.ordinal.slot or ""]), gender, many))
    for adverb, found, wanted_before in shape.adjectives:
        entry = found.value(scene.values)
        text = adverb + _adjective(found, scene, gender, many)
        if (entry.pos == "before" or wanted_before) and not adverb and not found.form:
            before.append(spanish.before_noun(entry.spanish, gender, many))
        elif " " in entry.es:
            phrases.append(text)
        else:
            single.append(text)
    joined = spanish.contract(" y ".join(single))
    return before, [*([joined] if joined else []), *phrases]
