"""Rules for English: plurals, verb forms, comparatives, a/an, numbers, clock times."""

from __future__ import annotations

import re

_words = str.split

_VOWELS = "aeiou"
_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}

# a/an follows the sound, which the spelling does not show here.
_AN_THOUGH_CONSONANT = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_A_THOUGH_VOWEL = re.compile(
    r"(?:uni(?!mp|nt|nv|nf)|use|usu|usa|uk|uto|uten|eu|one(?![a-z])|once(?![a-z])|ewe)", re.IGNORECASE
)


def takes_an(word: str) -> bool:
    """Return whether the article before this word is `an`."""
    if _AN_THOUGH_CONSONANT.match(word):
        return True
    return word[0].lower() in _VOWELS and not _A_THOUGH_VOWEL.match(word)


def plural(noun: str) -> str:
    """Return the regular plural of a noun, also of several words: watering cans."""
    return noun[:-2] + "en" if noun.endswith("woman") else _with_s(noun)


def third_person(verb: str) -> str:
    """Return the regular third person of the present tense: walks, watches, carries, goes."""
    return verb + "es" if verb in ("go", "do", "undo", "forgo") else _with_s(verb)


def past(verb: str, double: bool = False) -> str:
    """Return the regular past tense: walked, carried, stopped."""
    if verb.endswith("e"):
        return verb + "d"
    if _consonant_y(verb):
        return verb[:-1] + "ied"
    return (verb + verb[-1] if double or _doubles(verb) else verb) + "ed"


def ing(verb: str, double: bool = False) -> str:
    """Return the -ing form: walking, making, lying, stopping."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        return verb[:-1] + "ing"
    return (verb + verb[-1] if double or _doubles(verb) else verb) + "ing"


def comparative(adjective: str) -> str:
    """Return the comparative: bigger, happier, nicer, more beautiful."""
    return _compared(adjective, "er", "more ")


def superlative(adjective: str) -> str:
    """Return the superlative: biggest, happiest, nicest, most beautiful."""
    return _compared(adjective, "est", "most ")


def number(value: int) -> str:
    """Return a number below a thousand in words."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(value, 100)
    return f"{_ONES[hundreds]} hundred" + (f" and {number(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """Return first, second, ... for a number below a hundred."""
    if value in _ORDINALS:
        return _ORDINALS[value]
    if value > 20 and value % 10:
        return f"{_TENS[value // 10]}-{ordinal(value % 10)}"
    word = number(value)
    return word[:-1] + "ieth" if word.endswith("y") else word + "th"


def clock(hour: int, quarter: int) -> str:
    """Return a clock time: three o’clock, half past three, a quarter to four."""
    if quarter == 0:
        return f"{number(hour)} o’clock"
    if quarter == 3:
        return f"a quarter to {number(hour % 12 + 1)}"
    return f"{'a quarter' if quarter == 1 else 'half'} past {number(hour)}"


def _consonant_y(word: str) -> bool:
    return word.endswith("y") and len(word) > 1 and word[-2] not in _VOWELS


def _with_s(word: str) -> str:
    if _consonant_y(word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _syllables(word: str) -> int:
    return len(re.findall(r"[aeiouy]+", re.sub(r"(?<=[^aeioul])e$", "", word)))


def _doubles(word: str) -> bool:
    return _syllables(word) == 1 and re.fullmatch(r".*[^aeiou][aeiou][^aeiouwxy]|[aeiou][^aeiouwxy]", word) is not None


def _compared(adjective: str, ending: str, adverb: str) -> str:
    if _consonant_y(adjective) and _syllables(adjective) <= 2:
        return adjective[:-1] + "i" + ending
    if _syllables(adjective) > 1 or " " in adjective:
        return adverb + adjective
    if adjective.endswith("e"):
        return adjective + ending[1:]
    return (adjective + adjective[-1] if _doubles(adjective) else adjective) + ending
