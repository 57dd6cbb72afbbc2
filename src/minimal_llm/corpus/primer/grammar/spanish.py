"""Rules for Spanish: stress and accents, plurals, feminines, short forms, determiners, numbers, clock times."""

from __future__ import annotations

import re
from typing import Literal

_words = str.split

Gender = Literal["m", "f"]

_ACCENTED = "áéíóú"
_PLAIN = "aeiou"
_STRONG = "aeoáéó"
_TO_PLAIN = str.maketrans(_ACCENTED, _PLAIN)
_TO_ACCENTED = str.maketrans(_PLAIN, _ACCENTED)
# The u of que, qui, gue, gui is silent.
_NUCLEI = re.compile(r"(?:(?<=q)u(?=[eiéí])|(?<=g)u(?=[eiéí]))|([aeiouüáéíóú]+)")

_ONES = _words(
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete "
    "veintiocho veintinueve"
)
_TENS = _words("_ _ _ treinta cuarenta cincuenta sesenta setenta ochenta noventa")
_HUNDREDS = "_ ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
_ORDINALS = _words("_ primero segundo tercero cuarto quinto sexto séptimo octavo noveno décimo")

# Before a masculine singular noun; gran also before a feminine one.
_SHORT = {"bueno": "buen", "malo": "mal", "primero": "primer", "tercero": "tercer"}
_SAME_IN_FEMININE = ("mayor", "menor", "mejor", "peor", "superior", "inferior", "interior", "exterior", "marrón")

# name -> masculine, feminine, masculine plural, feminine plural
DETERMINERS: dict[str, tuple[str, str, str, str]] = {
    "el": ("el", "la", "los", "las"),
    "un": ("un", "una", "unos", "unas"),
    "este": ("este", "esta", "estos", "estas"),
    "ese": ("ese", "esa", "esos", "esas"),
    "aquel": ("aquel", "aquella", "aquellos", "aquellas"),
    "algún": ("algún", "alguna", "algunos", "algunas"),
    "ningún": ("ningún", "ninguna", "ningunos", "ningunas"),
    "otro": ("otro", "otra", "otros", "otras"),
    "mucho": ("mucho", "mucha", "muchos", "muchas"),
    "poco": ("poco", "poca", "pocos", "pocas"),
    "tanto": ("tanto", "tanta", "tantos", "tantas"),
    "cuánto": ("cuánto", "cuánta", "cuántos", "cuántas"),
    "todo": ("todo", "toda", "todos", "todas"),
    "mismo": ("mismo", "misma", "mismos", "mismas"),
    "mi": ("mi", "mi", "mis", "mis"),
    "tu": ("tu", "tu", "tus", "tus"),
    "su": ("su", "su", "sus", "sus"),
    "nuestro": ("nuestro", "nuestra", "nuestros", "nuestras"),
    "cada": ("cada", "cada", "cada", "cada"),
    "qué": ("qué", "qué", "qué", "qué"),
}
# Before a feminine noun that begins with a stressed a, these take their masculine form: el agua, un hacha.
_CHANGED_BEFORE_STRESSED_A = ("el", "un", "algún", "ningún")


def strip_accents(word: str) -> str:
    """Return the word without its acute accents (ñ and ü stay)."""
    return word.translate(_TO_PLAIN)


def stress(word: str) -> int:
    """Return the index of the stressed vowel according to the spelling."""
    nuclei = _syllable_nuclei(word)
    for position, letter in enumerate(word):
        if letter in _ACCENTED:
            return position
    if len(nuclei) == 1 or word[-1] not in "aeiouns":
        return nuclei[-1]
    return nuclei[-2]


def with_stress(word: str, position: int) -> str:
    """Return a word without accents, spelled so that the vowel at `position` is stressed."""
    if stress(word) == position and not _needs_hiatus_accent(word, position):
        return word
    return word[:position] + word[position].translate(_TO_ACCENTED) + word[position + 1 :]


def without_needless_accent(word: str) -> str:
    """Return a word of one syllable without its accent: guio, fie, hui (but ríe, which has two)."""
    plain = strip_accents(word)
    if len(_syllable_nuclei(plain)) > 1 or _needs_hiatus_accent(plain, stress(word)):
        return word
    return plain


def extend(word: str, ending: str, cut: int = 0) -> str:
    """Replace the last `cut` letters with `ending`, keeping the stressed vowel: canción + es, lava + te."""
    return with_stress(strip_accents(word[: len(word) - cut]) + ending, stress(word))


def plural(word: str) -> str:
    """Return the regular plural of a noun or adjective."""
    last = word[-1]
    if last in "aeiouáéó":
        return word + "s"
    if last == "z":
        return extend(word, "ces", cut=1)
    if last in "sx" and stress(word) != _syllable_nuclei(word)[-1]:
        return word
    return extend(word, "es")


def feminine(word: str) -> str:
    """Return the regular feminine of an adjective or of a noun for a person."""
    if word.endswith("o"):
        return word[:-1] + "a"
    if word.endswith(("or", "ón", "án", "ín", "és")) and word not in _SAME_IN_FEMININE:
        return extend(word, "a")
    return word


def adjective_forms(word: str, feminine_word: str | None = None) -> tuple[str, str, str, str]:
    """Return masculine, feminine and their plurals. A phrase (`de madera`) is invariable."""
    if " " in word:
        return word, word, word, word
    female = feminine_word or feminine(word)
    return word, female, plural(word), plural(female)


def before_noun(forms: tuple[str, str, str, str], gender: Gender, many: bool) -> str:
    """Return the form of an adjective before its noun: buen, primer, gran, but buena, grandes."""
    if not many:
        if forms[0] == "grande":
            return "gran"
        if gender == "m":
            return _SHORT.get(forms[0], forms[0])
    return pick(forms, gender, many)


def pick(forms: tuple[str, str, str, str], gender: Gender, many: bool) -> str:
    """Return the form for a gender and number."""
    return forms[(2 if many else 0) + (gender == "f")]


def stressed_a(noun: str) -> bool:
    """Return whether a feminine noun takes `el`: agua, águila, hacha, but not arena."""
    return re.match(r"h?[aá]", noun) is not None and stress(noun) == (1 if noun[0] == "h" else 0)


def determiner(name: str, gender: Gender, many: bool, next_word: str, next_is_noun: bool) -> str:
    """Return the form of a determiner that agrees with its noun and suits the next word."""
    changed = gender == "f" and not many and name in _CHANGED_BEFORE_STRESSED_A
    if changed and next_is_noun and stressed_a(next_word):
        gender = "m"
    return pick(DETERMINERS[name], gender, many)


def number(value: int, gender: Gender = "m", before: bool = True) -> str:
    """Return a number below a thousand in words, in the form used `before` a noun or on its own: veintiún perros."""
    if value >= 100:
        hundreds, rest = divmod(value, 100)
        if value == 100:
            return "cien"
        word = _HUNDREDS.split()[hundreds]
        if gender == "f" and hundreds > 1:
            word = word[:-2] + "as"
        return f"{word} {number(rest, gender, before)}" if rest else word
    tens, ones = divmod(value, 10)
    word = _ONES[value] if value < 30 else _TENS[tens] + (f" y {_ONES[ones]}" if ones else "")
    if ones != 1 or value == 11:
        return word
    if gender == "f":
        return word[:-1] + "a"
    if not before:
        return word
    return "veintiún" if value == 21 else word[:-1]


def ordinal(value: int) -> tuple[str, str, str, str]:
    """Return the forms of primero to décimo."""
    return adjective_forms(_ORDINALS[value])


def clock(hour: int, quarter: int) -> str:
    """Return a clock time with its article: las tres, la una y media, las cuatro menos cuarto."""
    if quarter == 3:
        hour = hour % 12 + 1
    article = "la una" if hour == 1 else f"las {number(hour)}"
    return article + ("", " y cuarto", " y media", " menos cuarto")[quarter]


def contract(text: str) -> str:
    """Apply contractions and changes before certain sounds: del, al, e before i-, u before o-."""
    text = re.sub(r"\b([Dd]e|[Aa]) el\b", lambda m: m[1] + "l", text)
    text = re.sub(r"\by (?=[iíIÍ]|[hH][ií](?![aeoáéó]))", "e ", text)
    return re.sub(r"\bo (?=[oóOÓ]|[hH][oó])", "u ", text)


def _syllable_nuclei(word: str) -> list[int]:
    # The index of the main vowel of each syllable.
    nuclei = []
    for match in _NUCLEI.finditer(word):
        run = match[1]
        if run is None:
            continue
        start = 0
        for index in range(1, len(run) + 1):
            if index == len(run) or _hiatus(run[index - 1], run[index]):
                nuclei.append(match.start(1) + start + _main_vowel(run[start:index]))
                start = index
    return nuclei or [0]


def _needs_hiatus_accent(word: str, position: int) -> bool:
    # búho, prohíbe: a stressed i or u next to a strong vowel, with or without an h in between.
    if word[position] not in "iu":
        return False
    return re.search(r"[aeo]h?$", word[:position]) is not None or re.match(r"h?[aeo]", word[position + 1 :]) is not None


def _hiatus(left: str, right: str) -> bool:
    both_strong = left in _STRONG and right in _STRONG
    weak_stressed = (left in "íú" and right in _STRONG) or (left in _STRONG and right in "íú")
    return both_strong or weak_stressed


def _main_vowel(nucleus: str) -> int:
    for group in (_ACCENTED, "aeo"):
        for index, letter in enumerate(nucleus):
            if letter in group:
                return index
    return len(nucleus) - 1
