"""Checks the punctuation of wordings, and collects the words that a frame's own text uses."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minimal_llm.corpus.languages import Language

_HOLES = re.compile(r"\{[^}]*\}")
_LEMMAS = re.compile(r"=([^\s.{}@<>]+)")
_WORD = re.compile(r"[^\W\d_][\w’'-]*")
_ENDS = re.compile(r"[.!?…][”’)]?$")
# A dash inside a Spanish wording opens the narrator's words ( —dijo Ana) or closes them (Ana—. Hace frío).
_INNER_DASH = re.compile(r"(?: —(?=[a-záéíóúñ{\[]))|(?:(?<=[^\s—])—(?=[.,;:?!…]))")


def faults(text: str, language: Language, free: bool) -> list[str]:
    """Return the punctuation errors of a wording; a `free` one may end without a punctuation mark."""
    plain = _HOLES.sub("x", text)
    found = []
    if '"' in plain:
        found.append("write “…” instead of straight quotes")
    if not free and not _ENDS.search(plain.rstrip("]")):
        found.append("does not end like a sentence")
    if "  " in text or text != text.strip():
        found.append("has extra spaces")
    if re.search(r" [,.;:!?]", plain):
        found.append("has a space before a punctuation mark")
    if plain.count("“") != plain.count("”"):
        found.append("has unpaired quotes")
    if language == "en":
        found += _english_faults(plain)
    else:
        found += _spanish_faults(plain)
    return found


def _english_faults(plain: str) -> list[str]:
    found = []
    if re.search("[¿¡]", plain):
        found.append("has Spanish punctuation")
    if plain.startswith("—"):
        found.append("speech must be in “ ”, without a dash")
    if re.search(r"”[,.]", plain):
        found.append("comma and period go before the closing quote")
    return found


def _spanish_faults(plain: str) -> list[str]:
    found = []
    for opening, closing in ("¿?", "¡!"):
        if plain.count(opening) != plain.count(closing):
            found.append(f"has unpaired {opening} {closing}")
    if plain.startswith("— "):
        found.append("has a space after the first dash")
    inner = plain[1:] if plain.startswith("—") else plain
    if len(_INNER_DASH.findall(inner)) != inner.count("—"):
        found.append("has a dash that neither opens ( —dijo) nor closes (Ana—.)")
    if plain.startswith("“") and re.search(r"” (?:dijo|preguntó|respondió)", plain):
        found.append("speech must begin with a dash: —Hola —dijo")
    if re.search(r"[’']", plain):
        found.append("has an apostrophe")
    if re.search(r"[.,]”", plain):
        found.append("comma and period go after the closing quote")
    return found


def literal_words(wordings: Iterable[tuple[str, Language, str, bool]]) -> frozenset[str]:
    """Return the words that the wordings use outside their slots, and all sequences of two or three of them."""
    words: set[str] = set()
    for _where, _language, text, _free in wordings:
        words.update(lemma.replace("_", " ") for lemma in _LEMMAS.findall(text))
        for part in _HOLES.sub("\n", text).split("\n"):
            run = [word.lower().removesuffix("’s") for word in _WORD.findall(part)]
            for length in (1, 2, 3):
                words.update(" ".join(run[at : at + length]) for at in range(len(run) - length + 1))
    return frozenset(words)
