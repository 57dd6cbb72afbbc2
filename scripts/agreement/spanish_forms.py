"""Readings of the Spanish word forms in the lexicon: gender and number, person, and determiners."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from minimal_llm.corpus.primer.grammar import spanish
from minimal_llm.corpus.primer.grammar.conjugation import FINITE, Verb
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon, irregular_verb, load_lexicon

_words = str.split

# Gender and number as four bits: masculine, feminine, and their plurals.
MS, FS, MP, FP = 1, 2, 4, 8
SINGULAR, PLURAL, ANY = MS | FS, MP | FP, 15
_BITS = (MS, FS, MP, FP)
_MORE_ADJECTIVES = _words("último mayor menor siguiente pasado propio único entero gordo querido")
_PREDICATES = ("ser", "estar", "parecer")
_MOODS = frozenset(_words("mood good_mood bad_mood joy"))
_STATES = _words("mojado empapado manchado helado escondido sucio")
_TIMES = frozenset(_words("day month season unit part_of_day"))
_SAYS = frozenset(
    _words("decir preguntar responder contestar susurrar gritar explicar exclamar murmurar repetir anunciar")
)

DETERMINERS: dict[str, int] = {}
for _name, _four in spanish.DETERMINERS.items():
    if _name != "qué":
        for _form, _bit in zip(_four, _BITS, strict=True):
            DETERMINERS[_form] = DETERMINERS.get(_form, 0) | _bit
DETERMINERS |= {"del": MS, "al": MS, "varios": MP, "varias": FP, "ambos": MP, "ambas": FP, "cada": SINGULAR}
# Also occur between a determiner and its noun: los otros perros.
INSIDE = frozenset(form for name in ("otro", "mucho", "poco", "mismo") for form in spanish.DETERMINERS[name])

NUMBERS: dict[str, int] = {"ciento": PLURAL}
for _value in (*range(2, 31), *range(40, 100, 10), *range(100, 1000, 100)):
    NUMBERS[spanish.number(_value)] = PLURAL
for _value in (21, *range(200, 1000, 100)):
    NUMBERS |= {spanish.number(_value): MP, spanish.number(_value, "f"): FP}

PRONOUNS = {  # person, 0 to 5, and gender and number
    "yo": (0, SINGULAR),
    "tú": (1, SINGULAR),
    "usted": (2, SINGULAR),
    "él": (2, MS),
    "ella": (2, FS),
    "nosotros": (3, MP),
    "nosotras": (3, FP),
    "ustedes": (5, PLURAL),
    "ellos": (5, MP),
    "ellas": (5, FP),
}


@dataclass(slots=True)
class NounForm:
    """The readings of a noun form: gender and number, and words that may belong to it, as in caja *de música*."""

    bits: int = 0
    rests: tuple[tuple[str, ...], ...] = ()
    stressed_a: bool = False
    time: bool = False


class Forms:
    """All word forms of the lexicon, by part of speech."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.nouns: dict[str, NounForm] = {}
        for noun in lexicon.nouns:
            for gender in noun.genders:
                for many in (False, True):
                    plural = (many or noun.plural_only) and not noun.mass
                    head, *rest = noun.spanish(gender, many).split()
                    entry = self.nouns.setdefault(head, NounForm())
                    entry.bits |= _BITS[(2 if plural else 0) + (gender == "f")]
                    entry.rests += (tuple(rest),) if rest else ()
                    entry.time |= not _TIMES.isdisjoint(noun.tags)
                    entry.stressed_a |= gender == "f" and not plural and spanish.stressed_a(head)
        self.adjectives: dict[str, int] = {"gran": SINGULAR, "buen": MS, "mal": MS, "primer": MS, "tercer": MS}
        self.loose: set[str] = set()  # may describe the subject: salió del bosque contento
        for adjective in lexicon.adjectives:
            self._add_adjective(adjective.spanish, bool(_MOODS & set(adjective.tags)) or adjective.es in _STATES)
            if adjective.es_comp:
                self._add_adjective(spanish.adjective_forms(adjective.es_comp), False)
        for value in range(1, 11):
            self._add_adjective(spanish.ordinal(value), False)
        for word in _MORE_ADJECTIVES:
            self._add_adjective(spanish.adjective_forms(word), False)
        self.verbs: dict[str, set[int]] = {}
        self.thirds: set[str] = set()  # not in the subjunctive
        self.predicates: set[str] = set()
        self.says: dict[str, set[int]] = {}
        self.imperatives: set[str] = set()
        for verb in {*(verb.forms for verb in lexicon.spanish_verbs.values()), irregular_verb("haber")}:
            self._add_verb(verb)

    def _add_adjective(self, forms: tuple[str, str, str, str], loose: bool) -> None:
        if " " in forms[0]:
            return
        for form, bit in zip(forms, _BITS, strict=True):
            self.adjectives[form] = self.adjectives.get(form, 0) | bit
            if loose:
                self.loose.add(form)

    def _add_verb(self, verb: Verb) -> None:
        for tense in FINITE:
            for person, form in enumerate(verb.finite[tense]):
                if tense == "imper":
                    if person:
                        self.imperatives.add(form)
                    continue
                self.verbs.setdefault(form, set()).add(person)
                if person in (2, 5) and not tense.startswith("subj"):
                    self.thirds.add(form)
                if verb.infinitive in _PREDICATES:
                    self.predicates.add(form)
                if verb.infinitive in _SAYS:
                    self.says.setdefault(form, set()).add(person)
        if verb.infinitive != "haber":
            self._add_adjective(spanish.adjective_forms(verb.participle), verb.participle not in self.adjectives)


@cache
def forms() -> Forms:
    """Return the word forms of the lexicon."""
    return Forms(load_lexicon())


@cache
def names() -> dict[str, int]:
    """Return the names in the lexicon with gender and number; names of pets and towns can have either gender."""
    every = load_lexicon().names
    genders = dict.fromkeys((*every.pets, *every.towns), SINGULAR)
    return genders | dict.fromkeys(every.f, FS) | dict.fromkeys(every.m, MS)
