"""Check grammatical agreement: count the word groups that the lexicon covers, and how many of them agree.

The checker is made for the output of a small model and avoids false alarms: a form with several readings agrees if any
of them does, and a construction that could be something else is not counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.agreement import english, spanish

from minimal_llm.corpus.languages import Language

_TOKEN = re.compile(r"[^\W\d_]+(?:[’'-][^\W\d_]+)*|\d+|[^\w\s]|\n")
_CHECKERS = {"en": english.check, "es": spanish.check}


@dataclass(frozen=True)
class Agreement:
    """Counts of word groups (article-noun-adjective and subject-verb) found, and of those that agree."""

    groups: int = 0
    agreeing: int = 0
    errors: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Return the fraction of groups that agree, from 0 to 1; 1 if there are none."""
        return self.agreeing / self.groups if self.groups else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.groups + other.groups, self.agreeing + other.agreeing, self.errors + other.errors)


def check_agreement(text: str, language: Language) -> Agreement:
    """Check a text: a/an, number and verb forms in English; gender, number and verb forms in Spanish."""
    results = list(_CHECKERS[language](_TOKEN.findall(text.replace("'", "’"))))
    errors = tuple(error for error in results if error)
    return Agreement(len(results), len(results) - len(errors), errors)
