"""English agreement: a or an, number of nouns after determiners, and verb forms with their subjects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from minimal_llm.corpus.primer.grammar import english
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon, load_lexicon

_words = str.split

_ONE, _MANY = 1, 2
_EDGE = ["\n"] * 6  # padding, so that looking back and ahead needs no bounds checks

_SINGULAR = frozenset(_words("a an this that one another every each"))
_PLURAL = frozenset(_words("these those many both several few"))
_ANY = frozenset(_words("the my your his her its our their some no"))
_NUMBERS = {english.number(value): value for value in range(1, 100)} | {"hundred": 100, "thousand": 1000}
# "a" before these says nothing about the number of the noun.
_A_FEW = frozenset(_words("few hundred thousand dozen couple lot little bit pair great good"))
_PREPOSITIONS = frozenset(_words("in on at of with for from under to by near behind beside like into over about"))
_ADVERBS = frozenset(_words("very so too quite rather really most more almost still always never often also just only"))
_BETWEEN = frozenset(_words("always never often also still just really usually sometimes already even only soon then"))
_MORE_ADJECTIVES = frozenset(_words("little own whole next last other same only favorite best single")) | {
    english.ordinal(value) for value in range(1, 32)
}
_CLAUSE = frozenset(
    _words("that when because if while but so as until before after since though although where what how why then now")
    + _words("suddenly today tomorrow yesterday soon finally")
)
_AUXILIARIES = frozenset(
    _words("do does did can could will would shall should may might must let make made help don’t doesn’t didn’t")
    + _words("can’t couldn’t won’t wouldn’t is are was were am have has had than")
)
_UNREAL = frozenset(_words("if though wish wished wishes unless"))
_NOT_ONLY_VERBS = ("like", "close")
_MARKS = frozenset(".!?…,:;()—“”\n‘")
_OTHER_KNOWN = frozenset(
    _words("and or nor not will would can could must may might shall should who which than there here up down out away")
    + _words(
        "off back together again home ago later old too without through across along around between inside outside"
    )
    + _words("he she it they we i you him them us me himself herself all had did been lay")
)

_PERSONS = {  # the verb form that each pronoun takes
    **dict.fromkeys(("he", "she", "it"), _ONE),
    **dict.fromkeys(("they", "we", "you"), _MANY),
    "i": _MANY,
}
_BE = {
    **dict.fromkeys(("is", "was", "has", "does", "isn’t", "wasn’t", "hasn’t", "doesn’t"), _ONE),
    **dict.fromkeys(("are", "were", "have", "do", "aren’t", "weren’t", "haven’t", "don’t"), _MANY),
}


class _Index:
    """All word forms of the lexicon, by part of speech."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.nouns: dict[str, int] = {}
        self.compounds: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self.units: set[str] = set()
        self.proper: set[str] = set()
        for noun in lexicon.nouns:
            for many in (False, True):
                for gender in noun.genders:
                    bits = _MANY if noun.plural_only else _ONE if noun.mass or not many else _MANY
                    self._add(noun.english(gender, many).lower(), bits)
                    if noun.proper:
                        self.proper.add(noun.english(gender, many))
                    if {"unit", "day", "part_of_day", "season"} & set(noun.tags):
                        self.units.add(noun.english(gender, many).lower())
        self.adjectives = set(_MORE_ADJECTIVES)
        for adjective in lexicon.adjectives:
            self.adjectives.update((adjective.en.lower(), adjective.comparative, adjective.superlative))
        self.adjectives.discard("second")  # already known as a noun before another noun
        verbs = [verb for verb in lexicon.english_verbs.values() if not verb.rest]
        neutral = {verb.past for verb in verbs} | {"can", "could"}
        self.verbs = {verb.base: _MANY for verb in verbs} | {verb.third: _ONE for verb in verbs} | _BE
        self.verbs = {form: bits for form, bits in self.verbs.items() if form not in neutral or form in _BE}
        self.forms = set(self.verbs) | neutral
        self.modifiers = self.adjectives | _ADVERBS
        for verb in verbs:
            self.forms.update((verb.base, verb.third, verb.participle, verb.ing))
            self.modifiers.update((verb.participle, verb.ing))
        self.modifiers -= {"to"}
        self.names = {*lexicon.names.f, *lexicon.names.m, *lexicon.names.pets, *lexicon.names.towns}
        self.known = self.forms | self.adjectives | _OTHER_KNOWN | _PREPOSITIONS | _CLAUSE | _ADVERBS | _BETWEEN
        self.known |= _MARKS | _ANY | _SINGULAR | _PLURAL

    def _add(self, form: str, bits: int) -> None:
        words = tuple(form.split())
        if len(words) == 1:
            self.nouns[form] = self.nouns.get(form, 0) | bits
        else:
            self.compounds.setdefault(words[0], []).append((words, bits))


@cache
def _index() -> _Index:
    return _Index(load_lexicon())


def check(tokens: list[str]) -> Iterator[str]:
    """Yield one text per group or pair found: the words that do not agree, or an empty text if all do."""
    yield from _Checker([*_EDGE, *tokens, *_EDGE]).results()


class _Checker:
    def __init__(self, words: list[str]) -> None:
        self._index = _index()
        self._words = words
        self._low = [word.lower() for word in words]

    def results(self) -> Iterator[str]:
        """Check every word that can start a group or a pair."""
        low, names = self._low, self._index.names
        determiners = _SINGULAR | _PLURAL | _ANY | frozenset(_NUMBERS)
        for at in range(len(_EDGE), len(low) - len(_EDGE)):
            word = low[at]
            if word in determiners:
                yield from self._group(at)
            elif word in _PERSONS and (word != "i" or self._words[at] == "I"):
                yield from self._pronoun(at)
            elif self._words[at] in names:
                yield from self._name(at)
            elif word == "there":
                yield from self._there(at)

    def _group(self, at: int) -> Iterator[str]:
        word, following = self._low[at], self._low[at + 1]
        if word in ("a", "an"):
            yield from self._article(at)
            return
        wanted = _ONE if word in _SINGULAR else 0 if word in _ANY else _MANY
        if word == "one" and (following in _NUMBERS or self._low[at - 1] in ("no", "and", "or")):
            return
        if word in _NUMBERS and word != "one" and following in _NUMBERS:
            return
        nouns, end = self._nouns(at + 1)
        if wanted and nouns:
            fault = self._number_fault(at, wanted, nouns, end)
            if fault is not None:
                yield fault
        if nouns:
            yield from self._subject(at, nouns, end)

    def _article(self, at: int) -> Iterator[str]:
        following = self._low[at + 1]
        if not following[0].isalpha() or (self._words[at] == "A" and self._low[at - 1] not in _MARKS):
            return
        if (self._low[at] == "an") != english.takes_an(following):
            yield self._text(at, at + 2)
            return
        nouns, end = self._nouns(at + 1)
        if following in _A_FEW:
            if nouns and following in ("few", "hundred", "thousand"):
                yield self._number_fault(at, _MANY, nouns, end) or ""
            return
        yield (self._number_fault(at, _ONE, nouns, end) if nouns else None) or ""
        if nouns:
            yield from self._subject(at, nouns, end)

    def _nouns(self, at: int) -> tuple[list[tuple[int, bool, str]], int]:
        # The consecutive nouns after any adjectives, as (number, can only be a noun, word), and where they end.
        index, low = self._index, self._low
        found: list[tuple[int, bool, str]] = []
        while len(found) < 4:
            word = low[at]
            if word == "can" and index.verbs.get(low[at + 1]) == _MANY:
                break
            compound = next(
                (pair for pair in index.compounds.get(word, ()) if tuple(low[at : at + len(pair[0])]) == pair[0]), None
            )
            if compound is not None:
                found.append((compound[1], True, compound[0][-1]))
                at += len(compound[0])
            elif word in index.nouns and (self._words[at][0].islower() or self._words[at] in index.proper):
                found.append((index.nouns[word], word not in index.adjectives and word not in index.forms, word))
                at += 1
            elif word.endswith("’s") and not found and word[:-2] in index.nouns:
                return [(index.nouns[word[:-2]], True, word)], at + 1
            elif not found and (word in index.modifiers or word in _NUMBERS) and word not in index.nouns:
                at += 1
            else:
                break
        return found, at

    def _number_fault(self, at: int, wanted: int, nouns: list[tuple[int, bool, str]], end: int) -> str | None:
        # None: the words may be another construction.
        index, word = self._index, self._low[at]
        if any(bits & wanted for bits, _, _ in nouns):
            return ""
        after = self._low[end]
        if after == "’" or (after not in index.known and self._words[end] not in index.names):
            return None  # the next word may be the head noun: two kitchen chairs
        article = word in ("a", "an")
        if not any(pure or (article and noun not in index.adjectives) for _, pure, noun in nouns):
            return None
        if word == "that" and self._low[at - 1] not in _PREPOSITIONS:
            return None
        if end - at > 2 and not self._plain(at + 1, end):
            return None
        return self._text(at, end)

    def _plain(self, start: int, end: int) -> bool:
        # Whether there are only adjectives and nouns: "a round got sweets" is not a group.
        index = self._index
        return all(
            word in index.adjectives or word in _NUMBERS or word in _ADVERBS or word in index.nouns
            for word in self._low[start:end]
        )

    def _subject(self, at: int, nouns: list[tuple[int, bool, str]], end: int) -> Iterator[str]:
        if not self._begins(at, noun=True) or nouns[-1][2].endswith("’s"):
            return
        index = self._index
        last = self._low[end - 1]
        verb = end + (self._low[end] in _BETWEEN)
        if self._low[verb] in index.forms and self._words[verb][0].islower():
            yield from self._pair(at, nouns[-1][0], verb, nouns[-1][2])
        elif len(nouns) > 1 and last in index.verbs and " " not in last and index.nouns.get(nouns[-2][2], 0):
            # In "the dog walks" the last noun form is the verb; in "the dog walk" it is a noun.
            bits = nouns[-2][0]
            if bits & index.verbs[last] or bits == _MANY:
                yield from self._pair(at, bits, end - 1, nouns[-2][2])

    def _pair(self, at: int, bits: int, verb: int, noun: str) -> Iterator[str]:
        form = self._low[verb]
        required = self._index.verbs.get(form)
        if form == "am":
            required = 0
        if required is None or form in _NOT_ONLY_VERBS:
            return
        if bits & required:
            yield ""
            return
        if form in self._index.adjectives or noun in self._index.units or self._unreal(at, form):
            return
        if self._low[at - 1] in ("and", "nor", "or"):
            return
        yield self._text(at, verb + 1)

    def _pronoun(self, at: int) -> Iterator[str]:
        word, before = self._low[at], self._low[at - 1]
        if before in _AUXILIARIES:
            yield from self._question(at)
            return
        if word in ("it", "you") and not self._begins(at, noun=False):
            return
        if before in ("and", "or", "nor") and not self._begins(at, noun=False):
            return
        verb = at + 1 + (self._low[at + 1] in _BETWEEN)
        form = self._low[verb]
        if word == "i":
            wrong = form in ("is", "are", "were", "isn’t", "aren’t", "weren’t")
            if form in ("am", "was", "wasn’t") or (wrong and not self._unreal(at, form)):
                yield self._text(at, verb + 1) if wrong else ""
                return
        elif form == "am":
            yield self._text(at, verb + 1)
            return
        required = self._index.verbs.get(form)
        if required is not None and not self._unreal(at, form):
            yield "" if required == _PERSONS[word] else self._text(at, verb + 1)

    def _question(self, at: int) -> Iterator[str]:
        # "Is he", "do they": verb before pronoun at the start of a question.
        word, form = self._low[at], self._low[at - 1]
        opens = self._low[at - 2] in _MARKS or self._low[at - 2] in ("what", "where", "why", "how", "when", "who")
        if form not in _BE or not opens or word in ("it", "you"):
            return
        wanted = _ONE if word == "i" and form in ("was", "wasn’t") else _PERSONS[word]
        yield "" if _BE[form] == wanted else self._text(at - 1, at + 1)

    def _name(self, at: int) -> Iterator[str]:
        if not self._begins(at, noun=True):
            return
        low, names = self._low, self._index.names
        verb = at + 1
        bits = _ONE
        if low[verb] == "and" and (self._words[verb + 1] in names or low[verb + 1] in ("i", "he", "she")):
            if low[at - 1] not in _MARKS or low[at - 1] == ",":
                return
            bits, verb = _MANY, verb + 2
        verb += low[verb] in _BETWEEN
        if self._words[verb][0].islower():
            yield from self._pair(at, bits, verb, "")

    def _there(self, at: int) -> Iterator[str]:
        form, following = self._low[at + 1], self._low[at + 2]
        if form not in ("is", "are", "was", "were") or (self._low[at + 3] in _A_FEW or self._low[at + 3] == "or"):
            return
        if following in ("a", "an", "one", "another") and self._low[at + 3] not in _NUMBERS:
            yield "" if _BE[form] == _ONE else self._text(at, at + 4)
        elif (following in _PLURAL and self._low[at + 4] != "ago") or (following in _NUMBERS and following != "one"):
            yield "" if _BE[form] == _MANY else self._text(at, at + 4)

    def _begins(self, at: int, noun: bool) -> bool:
        # Whether a clause starts here, so that the word can be its subject.
        low = self._low
        before = low[at - 1]
        if before in _MARKS or before in _CLAUSE:
            return True
        if before != "and":
            return False
        earlier = low[at - 2]
        if earlier in _MARKS:
            return not noun  # Ana, Luis, and Eva walk
        unnamed = self._words[at - 2].islower() and earlier not in self._index.nouns
        return not noun and unnamed and earlier in self._index.known

    def _unreal(self, at: int, form: str) -> bool:
        return form in ("were", "weren’t") and not _UNREAL.isdisjoint(self._low[at - 4 : at])

    def _text(self, start: int, end: int) -> str:
        return " ".join(self._words[start:end])
