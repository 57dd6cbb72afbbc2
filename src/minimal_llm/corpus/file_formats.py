"""Recognizes files of other formats that are given, or saved under a name, as if they were plain text.

What merely resembles such a format is text: a poem with commas, a chat in which lines begin with <names>, source code.
"""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import islice
from typing import NamedTuple


class FileFormat(NamedTuple):
    """A format in words, "a PDF document", and how to get plain text out of such a file."""

    name: str
    remedy: str


_OFFICE = "save it as plain text (UTF-8): in its program, or pandoc -t plain --wrap=none OLD -o NEW.txt"
_BOOK = "save it as plain text: ebook-convert OLD NEW.txt (of Calibre)"
_ARCHIVE = "unpack it and give the text files in it"
_IMAGE = FileFormat("an image", "give text files: a scanned page must be read by OCR first")
_HTML = FileFormat(
    "an HTML page", "save it as plain text: in a browser, or pandoc -f html -t plain --wrap=none OLD -o NEW.txt"
)
_XML = FileFormat("XML", "extract its text into a plain text file")
_JSON = FileFormat("JSON", "extract its text into a plain text file, a paragraph a line")
_TABLE = FileFormat("a table (CSV)", "extract the columns with text into a plain text file, a paragraph a line")

_SIGNATURES: tuple[tuple[bytes, FileFormat], ...] = (
    (rb"\s*%PDF-\d", FileFormat("a PDF document", "extract its text: pdftotext OLD NEW.txt")),
    (rb"\s*%!PS-Adobe", FileFormat("a PostScript document", "extract its text: ps2ascii OLD NEW.txt")),
    (rb"\s*\{\\rtf", FileFormat("an RTF document", _OFFICE)),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileFormat("a Word document or other file of old Office programs", _OFFICE)),
    (rb"PK\x03\x04.{26}mimetypeapplication/epub", FileFormat("an EPUB book", _BOOK)),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", FileFormat("an OpenDocument file", _OFFICE)),
    (rb"PK\x03\x04.*word/document\.xml", FileFormat("a Word document", _OFFICE)),
    (rb"PK(?:\x03\x04|\x05\x06)", FileFormat("a ZIP archive", _ARCHIVE)),
    (rb".{60}(?:BOOKMOBI|TEXtREAd)", FileFormat("a Kindle book", _BOOK)),
    (rb"\x1f\x8b\x08", FileFormat("a gzip archive", "unpack it to a text file: gzip -dc OLD > NEW.txt")),
    (
        rb"BZh[1-9]1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07",
        FileFormat("an archive", _ARCHIVE),
    ),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a[^\s]|II\*\0|MM\0\*|RIFF....WEBP", _IMAGE),
)

_SAMPLE = 65_536  # characters from the beginning, for what is told from its lines
_CLOSED = re.compile(r"</(?:html|body)>\s*\Z", re.I)
# Possessive: with as many ways to split a row of comments as there are, a search could take forever.
_PROLOG = r"\s*(?>(?:<!--.*?-->|<\?xml\b[^<>]*>)\s*)*+"
_HTML_TOP = re.compile(rf"{_PROLOG}(?:<!doctype\s+html\b[^<>]*>|<(?:html|head|body)\b[^<>]*>)\s*+(<)?", re.I | re.S)
_XML_TOP = re.compile(rf"{_PROLOG}<[!\w]", re.S)
_ELEMENT = re.compile(r"\s*<([A-Za-z_][\w.:-]*)(?:\s[^<>]*)?>")
_BLOCK_TAG = re.compile(
    r"\s*</?(?:p|div|h[1-6]|[uod]l|li|d[td]|table|tr|t[dh]|hr|pre|blockquote|section|article|main|nav|header|footer|"
    r"title|meta|link|script|style|html|head|body)\b[^<>]*>",
    re.I,
)
_JSON_TOP = re.compile(r'\s*(?:\[\s*)?\{\s*"(?:[^"\\\n]|\\.){0,200}"\s*:')
_COLUMN = re.compile(r"[^\W\d](?:[\w .()/#%-]{0,38}[\w)%])?")  # a name in the first row of a table
_MIN_ROWS = 3
_MOST = 0.95  # of the rows of a table
_MIN_COLUMNS = {",": 2, ";": 2, "\t": 3}  # a list of words and their translations has two


def binary_format(raw: bytes) -> FileFormat | None:
    """Return the format that the first bytes of a file are the signature of."""
    return next((found for pattern, found in _SIGNATURES if re.match(pattern, raw, re.S)), None)


def text_format(text: str) -> FileFormat | None:
    """Return the format of a decoded text that is markup or data."""
    if _is_html(text):
        return _HTML
    if _is_xml(text):
        return _XML
    if _is_json(text):
        return _JSON
    return _TABLE if any(_is_table(text, delimiter) for delimiter in _MIN_COLUMNS) else None


def _is_html(text: str) -> bool:
    top = _HTML_TOP.match(text)
    if top and (top[1] or _closed(text)):  # a text about HTML continues with words
        return True
    lines = [line for line in text[:_SAMPLE].split("\n") if line.strip()]
    return bool(lines) and 2 * sum(_BLOCK_TAG.match(line) is not None for line in lines) > len(lines)


def _closed(text: str) -> bool:
    return _CLOSED.search(text[-1000:]) is not None


def _is_xml(text: str) -> bool:
    if text.lstrip().startswith("<?xml") and _XML_TOP.match(text):
        return True
    element = _ELEMENT.match(text)
    return element is not None and text.rstrip().endswith(f"</{element[1]}>")


def _is_json(text: str) -> bool:
    if _JSON_TOP.match(text):
        return True
    if not text.lstrip().startswith("["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_table(text: str, delimiter: str) -> bool:
    # A row of names, and below it as many cells in every row. In prose, a space follows a comma.
    try:
        rows = [row for row in islice(csv.reader(io.StringIO(text[:_SAMPLE]), delimiter=delimiter), 1000) if row]
    except csv.Error:  # a NUL character, a cell that is too long
        return False
    if len(text) > _SAMPLE:
        rows = rows[:-1]  # cut off
    if len(rows) < _MIN_ROWS or len(rows[0]) < _MIN_COLUMNS[delimiter]:
        return False
    names = rows[0]
    if len(set(names)) < len(names) or not all(map(_COLUMN.fullmatch, names)):
        return False
    fitting = [row for row in rows if len(row) == len(names) and not any(cell[:1] == " " for cell in row)]
    return len(fitting) >= _MOST * len(rows)
