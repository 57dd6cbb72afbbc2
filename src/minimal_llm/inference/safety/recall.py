"""The quality of the safety filter: its recall on unsafe prompts, and its false positives on harmless text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.inference.safety.filter import SafetyFilter, read_data

KNOWN_PARTS = ("tuning", "held_back")  # parts of prompts.yaml that were written before the rules or with them in mind
NEW_PART = "afterwards"  # written after the rules were final

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|\n+")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, approximately: an abbreviation also ends a sentence."""
    return [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def measure_safety(rules: SafetyFilter, sentences: Iterable[str]) -> dict[str, Any]:
    """Return the metrics of the filter, ready for JSON.

    `sentences` must be harmless: `false_positive_rate` is the fraction of them that is blocked. `recall` is the
    fraction of the packaged unsafe prompts that is blocked, in total, by language and by category; prompts written
    after the rules count only in `recall_new`. `near_misses_blocked` counts blocked prompts that should pass.
    """
    blocked = [rules.check(sentence) is not None for sentence in sentences]
    prompts = read_data("prompts.yaml")
    unsafe: dict[str, Any] = prompts["unsafe"]
    known = [
        (category, language, text)
        for category in unsafe
        for language in LANGUAGES
        for part in KNOWN_PARTS
        for text in unsafe[category][language][part]
    ]
    new = [text for category in unsafe.values() for parts in category.values() for text in parts[NEW_PART]]
    innocent = [text for texts in prompts["innocent"].values() for text in texts]
    return {
        "sentences": len(blocked),
        "false_positives": sum(blocked),
        "false_positive_rate": sum(blocked) / max(1, len(blocked)),
        "prompts": len(known),
        "recall": _recall(rules, [text for _, _, text in known]),
        "recall_by_language": {name: _recall(rules, [t for _, own, t in known if own == name]) for name in LANGUAGES},
        "recall_by_category": {name: _recall(rules, [t for own, _, t in known if own == name]) for name in unsafe},
        "prompts_new": len(new),
        "recall_new": _recall(rules, new),
        "near_misses": len(innocent),
        "near_misses_blocked": sum(rules.check(text) is not None for text in innocent),
    }


def _recall(rules: SafetyFilter, texts: list[str]) -> float:
    return sum(rules.check(text) is not None for text in texts) / len(texts)
