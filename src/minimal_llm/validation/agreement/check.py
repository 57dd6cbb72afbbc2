"""How well a text agrees: counts the groups whose words the lexicon knows, and those of them that are right.

It judges what a small model writes. A form that has several readings agrees if one of them does, and a construction
that might be another one is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from minimal_llm.corpus.languages import Language
from minimal_llm.validation.agreement import english, spanish

_TOKEN = re.compile(r"[^\W\d_]+(?:[’'-][^\W\d_]+)*|\d+|[^\w\s]|\n")
_CHECKERS = {"en": english.check, "es": spanish.check}


@dataclass(frozen=True)
class Agreement:
    """Article-noun-adjective groups and subject-verb pairs: how many were found, and how many of them agree."""

    groups: int = 0
    agreeing: int = 0
    errors: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Return the share that agrees, from 0 to 1; 1 if there is nothing to judge."""
        return self.agreeing / self.groups if self.groups else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.groups + other.groups, self.agreeing + other.agreeing, self.errors + other.errors)


def check_agreement(text: str, language: Language) -> Agreement:
    """Judge a text: a/an, number and verb forms in English; gender, number and verb forms in Spanish."""
    return _summary(_CHECKERS[language](_TOKEN.findall(text.replace("'", "’"))))


def _summary(results: Iterable[str]) -> Agreement:
    groups = 0
    errors: list[str] = []
    for error in results:
        groups += 1
        if error:
            errors.append(error)
    return Agreement(groups, groups - len(errors), tuple(errors))
