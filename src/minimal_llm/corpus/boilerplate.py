"""What Project Gutenberg adds around a book: header, license, footer, in every style used since the 1990s.

Titles inside markers may be shortened or misspelled, so nothing here compares them with anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = r"project\s+gutenberg"
_THE_BOOK = rf"(?:THE\s+|THIS\s+)?(?:COPYRIGHTED\s+)?{_NAME}"
_START = re.compile(rf"\s*\*{{2,}}\s*START\s+OF\s+{_THE_BOOK}", re.I)
# In the 1990s, the license preceded the text and ended with: *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ...*END*, for
# copyrighted texts with: *SMALL PRINT! Ver.04.29.93 FOR COPYRIGHT PROTECTED ETEXTS*END*, at first with:
# ["Small Print" V.12.08.93]
_SMALL_PRINT_END = re.compile(
    r"\s*(?:\*+\s*END\s*\*?\s*THE SMALL PRINT|\*+\s*(?:THE )?SMALL PRINT!.*\*\s*END\s*\*|"
    r"\[?[\"“]Small Print!?[\"”] V\.\d)",
    re.I,
)
_REST_OF_SMALL_PRINT_END = re.compile(r"[^*]*\*\s*Ver.*\*\s*END\s*\*\s*$", re.I)  # a marker that wraps
_END = re.compile(rf"\s*\*{{2,}}\s*END\s+OF\s+{_THE_BOOK}", re.I)
_LICENSE = re.compile(rf"\s*(?:\*{{2,}}\s*START:\s+FULL\s+LICENSE|THE\s+FULL\s+{_NAME}\s+LICENSE\s*$)", re.I)
# "End of the Project Gutenberg EBook of X, by Y": precedes END in many files and replaces it in old ones. What begins
# or continues with a small letter is a sentence: "The end of Project Gutenberg was near".
_FAREWELL = re.compile(
    rf"\W*(?=[A-Z])(?i:(?:this is )?(?:the )?(?:end|fin) (?:of|de|del)\b.{{0,20}}\b{_NAME})"
    r"(?!\s+(?!(?i:(?:e-?)?(?:text|book)|electronic|edition|version|by)\b)[a-z])"
)
_AFTER_FAREWELL = 100  # lines at most, unless it is the license that follows
# What only the project says of itself. Those who write about it do not call it Project Gutenberg-tm.
_LICENSE_TEXT = re.compile(
    rf"{_NAME}\s?(?:-tm\b|\(tm\)|™)|\bfull\s+{_NAME}\s+licen[cs]e|{_NAME}\s+(?:e-?text|e-?book),?\s+details\s+(?:above|below)|"
    rf"\bthis\s+(?:{_NAME}\s+)?(?:e-?text|e-?book)\s+is\s+for\s+the\s+use\s+of\s+anyone|\bthis file should be named\b|"
    rf"\bTHE SMALL PRINT!",
    re.I,
)
# Every text that a pattern above matches, with or without a line break in it, contains one of these.
_TRACES = ("gutenberg", "pglaf", "small print", "license", "anyone", "this file should be named")
# Between the plays of a collection of the 1990s
_NOTICE = re.compile(r"<<THIS ELECTRONIC VERSION OF [^<>]*>>")
_FIELD = re.compile(
    r"(Title|Author|Editor|Translator|Illustrator|Contributor|Release date|Posting date|Language|Credits|"
    r"Character set encoding|Other information and formats|Original publication)\s*:(.*)",
    re.I,
)
_MARKER_LINES = 5  # the longest START marker, with a title that wraps
_FAREWELL_LINES = 12  # how far above END to look for it
_HEADER_LINES = 150  # how far down to look for the fields of a header without a START marker


@dataclass(frozen=True)
class Header:
    """Title and authors of a book according to its header; empty where the header does not name them."""

    title: str
    authors: tuple[str, ...]


def carries_markers(text: str) -> bool:
    """Return whether `text` has a Project Gutenberg header, footer or license."""
    lines = text.split("\n")
    return _end(lines) < len(lines) or any(
        pattern.match(line) for line in lines for pattern in (_START, _SMALL_PRINT_END)
    )


def may_mention_project(text: str) -> bool:
    """Return whether a closer look at `text` could find anything of the project."""
    folded = text.casefold()
    return any(trace in folded for trace in _TRACES)


def is_license_text(lines: Sequence[str]) -> bool:
    """Return whether a paragraph of these lines is part of a header, footer or license, wherever it stands."""
    markers = (_START, _SMALL_PRINT_END, _END, _LICENSE, _FAREWELL)
    return (
        any(pattern.match(line) for line in lines for pattern in markers)
        or _LICENSE_TEXT.search(" ".join(lines)) is not None
    )


def has_end(text: str) -> bool:
    """Return whether `text` has a footer of any style. A file without one is truncated."""
    lines = text.split("\n")
    return _end(lines) < len(lines)


def strip_gutenberg(text: str) -> str:
    """Return the text between header and footer: the book, still with its transcribers' notes.

    A text without any marker is returned unchanged.
    """
    lines = _NOTICE.sub("", text).split("\n")
    end = _end(lines)
    start, rest = _start(lines[:end])
    return "\n".join([rest, *lines[start:end]])


def read_header(text: str) -> Header:
    """Return title and authors as given in the header."""
    lines = text.split("\n")
    start, _ = _start(lines[: _end(lines)])
    fields: dict[str, list[list[str]]] = {}
    current: list[str] | None = None
    for line in lines[:start]:
        if match := _FIELD.match(line):
            current = [match[2].strip()]
            fields.setdefault(match[1].lower(), []).append(current)
        elif not line.strip():
            current = None
        elif current is not None:
            current.append(line.strip())
    return Header(
        title=" ".join(" ".join(part for value in fields.get("title", [])[:1] for part in value).split()),
        authors=tuple(name for value in fields.get("author", []) for name in value if name),
    )


def _start(lines: list[str]) -> tuple[int, str]:
    # Returns the number of the first line of the book, and any text that follows the marker on its last line.
    start, rest = next(
        (_after_start(lines, number) for number, line in enumerate(lines) if _START.match(line)), (0, "")
    )
    for number, line in enumerate(lines):
        if number >= start and _SMALL_PRINT_END.match(line):
            wraps = number + 1 < len(lines) and _REST_OF_SMALL_PRINT_END.match(lines[number + 1])
            start, rest = number + (2 if wraps else 1), ""
    return (start, rest) if start else (_after_fields(lines), "")


def _after_start(lines: list[str], number: int) -> tuple[int, str]:
    for last in range(number, min(number + _MARKER_LINES, len(lines))):
        line = lines[last]
        if not line.strip():
            break
        opening = line.index("*") if last == number else 0
        closing = line.rfind("***", opening + 3 if last == number else 0)
        if closing >= 0:
            return last + 1, line[closing:].lstrip("*")
    return number + 1, ""  # an unclosed marker counts as one line


def _after_fields(lines: list[str]) -> int:
    # Without a marker: if the file opens with the name of the project, the header ends after its last field.
    opening = " ".join(" ".join(lines[:20]).split())[:200]
    if not re.search(_NAME, opening, re.I):
        return 0
    fields = [number for number, line in enumerate(lines[:_HEADER_LINES]) if _FIELD.match(line)]
    if not fields:
        return 0
    after = fields[-1]
    while after < len(lines) and lines[after].strip():
        after += 1
    return after


def _end(lines: list[str]) -> int:
    # Uses the last END, so that no text of a file with several is dropped silently.
    for pattern in (_END, _LICENSE, _FAREWELL):
        found = [number for number, line in enumerate(lines) if pattern.match(line)]
        if pattern is _FAREWELL:
            found = [number for number in found[-1:] if _is_farewell(lines, number)]
        if found:
            end = found[0] if pattern is _LICENSE else found[-1]
            break
    else:
        return len(lines)
    for number in range(end - 1, max(-1, end - _FAREWELL_LINES), -1):
        if _FAREWELL.match(lines[number]):
            return number
    return end


def _is_farewell(lines: list[str], number: int) -> bool:
    # A sentence about the end of the project stands in the middle of a text.
    after = [line for line in lines[number + 1 :] if line.strip()]
    return len(after) <= _AFTER_FAREWELL or is_license_text(after)
