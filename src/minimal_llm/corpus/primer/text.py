"""Finishes rendered wordings (a/an, contractions, capitals, typography) and splits paragraphs into sentences."""

from __future__ import annotations

import re

from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.primer.grammar import english, spanish

_ARTICLE = re.compile(r"\b([Aa])n?(?= [“‘]?([A-Za-z][\w-]*))")
_FIRST = re.compile(r"^([“—¿¡(‘]*)(\w)")
_NEXT = re.compile(r"((?:[.!?] [“¿¡(‘]*)|(?:: “[¿¡]*))([a-záéíóúñ])")
_BLANKS = re.compile(r" {2,}| (?=[,.;:!?])")
# A sentence ends at . ! ? … and closing punctuation, if the next word is capitalized: dialogue tags (—dijo Ana, said
# Ana) begin in lower case.
_END = re.compile(r"(?<=[.!?…])([”’)]?)\s+(?=[“‘¿¡(]*[A-ZÁÉÍÓÚÑ])")


def finish(text: str, language: Language) -> str:
    """Return the final text of a rendered wording."""
    if "  " in text or " ," in text or " ." in text:
        text = _BLANKS.sub(lambda m: " " if m[0] == "  " else "", text)
    text = _ARTICLE.sub(_a_or_an, text).replace("'", "’") if language == "en" else spanish.contract(text)
    text = _FIRST.sub(lambda m: m[1] + m[2].upper(), text)
    return _NEXT.sub(lambda m: m[1] + m[2].upper(), text)


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph; speech and its dialogue tag form one sentence."""
    parts = _END.split(paragraph)
    joined = [parts[index] + (parts[index + 1] if index + 1 < len(parts) else "") for index in range(0, len(parts), 2)]
    return [part.strip() for part in joined if part.strip()]


def starts_speech(text: str) -> bool:
    """Return whether a sentence begins with direct speech."""
    return text.startswith(("“", "—"))


def _a_or_an(match: re.Match[str]) -> str:
    return match[1] + ("n" if english.takes_an(match[2]) else "")
