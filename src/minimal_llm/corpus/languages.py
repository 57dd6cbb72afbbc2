"""The two languages of the corpus."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["en", "es"]

LANGUAGES: tuple[Language, ...] = get_args(Language)

LANGUAGE_NAMES: dict[Language, str] = {"en": "English", "es": "Spanish"}
