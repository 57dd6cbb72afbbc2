"""Spanish agreement: gender and number of determiners, nouns and adjectives; person and number of verbs."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.agreement.spanish_forms import (
    ANY,
    DETERMINERS,
    FP,
    FS,
    INSIDE,
    MP,
    MS,
    NUMBERS,
    PLURAL,
    PRONOUNS,
    SINGULAR,
    forms,
    names,
)

from minimal_llm.corpus.primer.grammar.spanish import DETERMINERS as DETERMINER_FORMS
from minimal_llm.corpus.primer.grammar.spanish import number

_words = str.split

_EDGE = ["\n"] * 6  # padding, so that looking back and ahead needs no bounds checks
_MARKS = frozenset(".!?…,:;()—“”\n¿¡")
_CLAUSE = frozenset(
    _words("que cuando porque si mientras aunque donde pues pero entonces luego después ahora hoy ayer así también")
    + _words("repente pronto fin además apenas enseguida eso")
)
_AND = ("y", "e")
_BETWEEN = frozenset(_words("no ya también siempre nunca todavía aún casi"))
_CLITICS = frozenset(_words("me te se nos os le les lo la los las"))
_OBJECTS = frozenset(_words("lo la los las"))
_ADVERBS = frozenset(_words("muy más tan bastante demasiado algo"))
# Also adverbs, prepositions or nouns, so a mismatch is not necessarily an error.
_ALSO_OTHERS = frozenset(
    _words("solo rápido fuerte alto bajo claro justo igual mejor peor primero segundo medio seguro mañana tarde")
    + _words("sobre como para entre fuera nada cerca frente dulces juntos juntas junto parte")
)
_NO_VERBS = frozenset(_words("como para entre sobre fuera nada una sal este frente traje"))
# Nouns that are also forms of a verb the lexicon may lack: te los regalo.
_ALSO_VERBS = frozenset(_words("regalo paso pasos clavo peine abrigo sello baño vuelo dibujo camino cepillo nombre"))
_FULL_FORMS = {"bueno": "buen", "malo": "mal", "primero": "primer", "tercero": "tercer"}
_NO_SUBJECTS = frozenset(_words("al del todo toda todos todas cuánto cuánta cuántos cuántas"))
# Adverbs on their own: trabajó mucho.
_WEAK = frozenset(_words("mucho poco tanto cuánto todo mismo otro mucha poca"))
_ARTICLE_FOLLOWS = frozenset(DETERMINER_FORMS["todo"]) | {"ambos", "ambas"}
_ALSO_CLITICS = frozenset(_words("la los las este esta estos estas ese esa esos esas otro otra otros otras"))
_ALSO_PRONOUNS = _ALSO_CLITICS | {"una", "unas", "unos"}
_PREPOSITIONS = frozenset(_words("a de en con por bajo hasta desde entre sin tras según hacia contra ante"))
_EL_BEFORE_A = frozenset(_words("el un algún ningún del al"))
_TENS = frozenset(number(value) for value in range(30, 100, 10))
_HUNDREDS = {"ciento"} | {number(value, gender) for value in range(200, 1000, 100) for gender in ("m", "f")}


def check(tokens: list[str]) -> Iterator[str]:
    """Yield one text per group or pair found: the words that do not agree, or an empty text if all do."""
    yield from _Checker([*_EDGE, *tokens, *_EDGE]).results()


class _Checker:
    def __init__(self, words: list[str]) -> None:
        self._index = forms()
        self._names = names()
        self._words = words
        self._low = [word.lower() for word in words]

    def results(self) -> Iterator[str]:
        """Check every word that can start a group or a pair."""
        low, names, nouns = self._low, self._names, self._index.nouns
        at, last = len(_EDGE), len(low) - len(_EDGE)
        while at < last:
            word = low[at]
            end = at + 1
            if word in DETERMINERS or word in NUMBERS:
                results, end = self._group(at)
                yield from results
            elif word in PRONOUNS:
                yield from self._pronoun(at)
            elif self._words[at] in names:
                yield from self._name(at)
            elif word in nouns:
                yield from self._bare(at)
            elif word == "—":
                yield from self._says(at)
            at = max(end, at + 1)

    def _group(self, at: int) -> tuple[list[str], int]:
        # The results of the group that starts here, and where the next group may start.
        low, index = self._low, self._index
        noun_at, bits, wrong = self._up_to_noun(at)
        if noun_at is None:
            return [], at + 1
        word, noun = low[noun_at], index.nouns[low[noun_at]]
        first = low[at]
        if noun.stressed_a and noun.bits & FS and low[noun_at - 1] in _EL_BEFORE_A:
            bits = self._determiners(at, noun_at - 1) & SINGULAR
        elif noun.stressed_a and low[noun_at - 1] == "la":
            wrong = True
        after_de = first == "el" and low[at - 1] in ("de", "a") and self._words[at] == "el"
        result = bits & noun.bits
        start = at - after_de
        if not result or wrong or after_de:
            if first in _WEAK or self._may_be_pronoun(at, word):
                return [], at + 1
            return [self._text(start, noun_at + 1)], noun_at + 1
        result, end, fault = self._adjectives(at, noun_at, result)
        if fault:
            return [self._text(start, end)], end
        return ["", *self._subject(at, result, end, noun.time)], end

    def _may_be_pronoun(self, at: int, word: str) -> bool:
        # "La cocina" may mean "the kitchen" or "cooks it"; compare "una sobre otra".
        low, first = self._low, self._low[at]
        if self._determiners(at, at + 1) & self._index.adjectives.get(word, 0):
            return True  # el rosa, todos naranjas
        sure = low[at - 1] in _PREPOSITIONS
        if first in NUMBERS:
            return not sure and word in ("mañana", "tarde", "noche")
        if word in _ALSO_OTHERS and first in _ALSO_PRONOUNS:
            return not sure or first not in ("la", "los", "las")
        verb = word in self._index.verbs or word in _ALSO_VERBS
        return verb and first in _ALSO_CLITICS and not sure

    def _up_to_noun(self, at: int) -> tuple[int | None, int, bool]:
        # Position of the noun, gender and number shared by the words before it, and whether a full form is wrong.
        low, index = self._low, self._index
        place, wrong, full = at, False, ""
        while place < at + 6:
            word = low[place]
            if place > at and word in index.nouns and self._words[place][0].islower():
                if word in index.adjectives and self._only_noun(place + 1) and place < at + 2:
                    place += 1  # el joven rey
                    continue
                break
            if self._before_noun(at, place):
                pass
            elif word == "y" and low[place - 1] in _TENS and low[place + 1] in (*NUMBERS, "un", "una"):
                place += 1
            elif place > at and word in index.adjectives:
                full = word if word in _FULL_FORMS else full
            elif not (word in _ADVERBS and place > at and low[place + 1] in index.adjectives):
                return None, 0, False
            place += 1
        else:
            return None, 0, False
        if full and low[place - 1] == full and index.nouns[low[place]].bits & MS:
            wrong = True
        if low[at : at + 2] == ["un", "poco"]:
            return None, 0, False
        return place, self._determiners(at, place), wrong

    def _before_noun(self, at: int, place: int) -> bool:
        # Whether the word is a determiner or number that can occur at this place in a group.
        word, before = self._low[place], self._low[place - 1]
        if word in ("un", "una") and before in _HUNDREDS:
            return True
        if word in NUMBERS or word in INSIDE or (place == at and word in DETERMINERS):
            return True
        return word in DETERMINERS and before in _ARTICLE_FOLLOWS and word not in (*_ARTICLE_FOLLOWS, "al", "del")

    def _only_noun(self, at: int) -> bool:
        word = self._low[at]
        return word in self._index.nouns and word not in self._index.adjectives and word not in self._index.verbs

    def _determiners(self, start: int, end: int) -> int:
        low, bits = self._low, ANY
        for place in range(start, end):
            word = low[place]
            if place > start and word in ("un", "una") and low[place - 1] in (*_AND, *_HUNDREDS):
                bits &= MP if word == "un" else FP  # treinta y un perros
            elif word in NUMBERS:
                bits &= NUMBERS[word]
            elif word in DETERMINERS:
                bits &= DETERMINERS[word]
            elif word in self._index.adjectives:
                bits &= self._index.adjectives[word]
        if low[start] in ("un", "una") and low[start - 1] in _AND and low[start - 2] in _TENS:
            bits = MP if low[start] == "un" else FP
        return bits

    def _adjectives(self, at: int, noun_at: int, bits: int) -> tuple[int, int, bool]:
        # After the noun: its remaining readings, the end of the group, and whether an adjective does not agree.
        low, index = self._low, self._index
        end = noun_at + 1
        if low[noun_at] == "vez":  # cada vez más cansado
            return bits, end, False
        for rest in index.nouns[low[noun_at]].rests:
            if tuple(low[end : end + len(rest)]) == rest:
                end += len(rest)
                break
        while True:
            place = end + (low[end] in _ADVERBS)
            if end > noun_at + 1 and low[end] in _AND and low[end - 1] in index.adjectives:
                place = end + 1
            word = low[place]
            if word not in index.adjectives or word in _FULL_FORMS.values() or not self._words[place].islower():
                return bits, end, False
            if bits & index.adjectives[word]:
                bits &= index.adjectives[word]
                end = place + 1
                continue
            if self._may_be_other(at, place):
                return bits, end, False
            return bits, place + 1, True

    def _may_be_other(self, at: int, place: int) -> bool:
        # Whether an adjective that does not agree may belong to another word, or be another part of speech.
        low, index = self._low, self._index
        word = low[place]
        if word in index.nouns or word in index.thirds or word in index.imperatives or word in _ALSO_OTHERS:
            return True
        before, wanted = low[at - 1], index.adjectives[word]
        if word in index.loose and not (before in _MARKS or before in _CLAUSE or before in index.predicates):
            return True
        if low[place - 1] in _AND and low[place + 1] in index.nouns:
            return True
        joined = before in (*_AND, "ni", "o", "u")
        head = low[at - 1] if low[at] == "del" else low[at - 2] if joined or before == "de" else ""
        known = index.nouns[head].bits if head in index.nouns else index.adjectives.get(head, 0)
        if joined:  # un perro y una gata negros
            return bool(wanted & (MP if known & (MS | MP) else PLURAL))
        return bool(known & wanted)

    def _bare(self, at: int) -> Iterator[str]:
        # A noun without determiner, and its adjective: con letras rojas.
        low, index = self._low, self._index
        word, following = low[at], low[at + 1]
        noun = index.nouns[word]
        if following not in index.adjectives or not (self._words[at] + self._words[at + 1]).islower():
            return
        if word in index.verbs or word in index.adjectives or word in _ALSO_OTHERS or low[at - 1] in index.adjectives:
            return
        if following in index.loose or following in index.nouns or following in index.verbs:
            return
        if following in _ALSO_OTHERS or low[at - 1] in (*_AND, "de", "o", "u", "ni"):
            return
        yield "" if noun.bits & index.adjectives[following] else self._text(at, at + 2)

    def _subject(self, at: int, bits: int, end: int, time: bool) -> list[str]:
        if time or self._low[at] in _NO_SUBJECTS or not self._begins(at):
            return []
        low = self._low
        number = bits
        if low[end] in ("de", "del"):
            if low[end] == "de" and self._words[end + 1] in self._names:
                end += 2
            else:
                return []
        persons = {2} if not number & PLURAL else {5} if not number & SINGULAR else {2, 5}
        return list(self._verb(at, persons, bits, end))

    def _name(self, at: int) -> Iterator[str]:
        low, names = self._low, self._names
        before, end = low[at - 1], at + 1
        bits = names[self._words[at]]
        if not self._begins(at) and not (before in self._index.nouns and self._index.nouns[before].time):
            return
        persons = {2}
        if low[end] in _AND and (self._words[end + 1] in names or low[end + 1] in ("yo", "tú", "él", "ella")):
            if before not in _MARKS or before == ",":
                return
            other = low[end + 1]
            persons = {3} if other == "yo" else {5, 4} if other == "tú" else {5}
            second = PRONOUNS[other][1] if other in PRONOUNS else names[self._words[end + 1]]
            genders = (bits, second)
            bits = MP if MS in genders else FP if genders == (FS, FS) else PLURAL
            end += 2
        yield from self._verb(at, persons, bits, end)

    def _pronoun(self, at: int) -> Iterator[str]:
        person, bits = PRONOUNS[self._low[at]]
        if self._begins(at):
            yield from self._verb(at, {person}, bits, at + 1)

    def _verb(self, at: int, persons: set[int], bits: int, end: int) -> Iterator[str]:
        low, index = self._low, self._index
        place = end
        while low[place] in _BETWEEN:
            place += 1
        while low[place] in _CLITICS and place < end + 4:
            place += 1
        form = low[place]
        found = index.verbs.get(form)
        if found is None or form in _NO_VERBS or not self._words[place][0].islower():
            return
        if not persons & found:
            fronted = any(word in _OBJECTS for word in low[end:place])
            other = form in index.nouns or form in index.adjectives or form in _CLITICS
            turned = low[place + 1] in PRONOUNS  # los invitados fuéramos nosotros
            if not fronted and not other and not turned and not (form in index.imperatives and persons == {2}):
                yield self._text(at, place + 1)
            return
        yield ""
        yield from self._predicate(at, bits, place)

    def _predicate(self, at: int, bits: int, verb: int) -> Iterator[str]:
        # La casa era roja; Ana estaba muy cansada.
        low, index = self._low, self._index
        if low[verb] not in index.predicates:
            return
        place = verb + 1 + (low[verb + 1] in _ADVERBS)
        word = low[place]
        wanted = index.adjectives.get(word)
        if wanted is None or word in index.nouns or word in _ALSO_OTHERS or word in _FULL_FORMS.values():
            return
        if low[place + 1] in index.nouns:
            return
        yield "" if wanted & bits else self._text(at, place + 1)

    def _says(self, at: int) -> Iterator[str]:
        # "—dijo Ana": verb before subject.
        low, names = self._low, self._names
        found = self._index.says.get(low[at + 1])
        if found is None or self._words[at + 2] not in names or self._words[at + 1] != low[at + 1]:
            return
        several = low[at + 3] in _AND and (self._words[at + 4] in names or low[at + 4] == "yo")
        if not several:
            yield "" if 2 in found else self._text(at + 1, at + 3)

    def _begins(self, at: int) -> bool:
        # Whether a clause starts here, so that the word can be its subject.
        low = self._low
        before = low[at - 1]
        if before in _MARKS or before in _CLAUSE:
            return True
        if before not in _AND:
            return False
        earlier, index = low[at - 2], self._index
        verb = earlier in index.verbs and earlier not in index.nouns and earlier not in index.adjectives
        return earlier in _MARKS or (verb and self._words[at - 2].islower())

    def _text(self, start: int, end: int) -> str:
        return " ".join(self._words[start:end])
