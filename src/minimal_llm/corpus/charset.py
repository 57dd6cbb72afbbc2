"""From the bytes of a text file to its text, saying in which encoding they were."""

from __future__ import annotations

import re
import unicodedata

from minimal_llm.common.errors import CorpusError

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_MAX_CONTROL_SHARE = 0.01
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # not tab, line feed, vertical tab, form feed, carriage return
# Characters that nobody sees: controls (a DOS end-of-file, a bell), a byte order mark inside the text, soft hyphens,
# zero-width spaces. The zero-width joiner stays: emoji need it.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\u00ad\u200b]")
# What cp1252 has and Latin-1 lacks, as far as prose uses it. Its other characters betray another encoding: a DOS or
# Mac code page has its accented letters at these places.
_CP1252_PROSE = frozenset("€…Œœ‘’“”•–—™")


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text of some bytes and the name of their encoding, one that `bytes.decode` knows.

    Strict UTF-8 is tried first (with a byte order mark it is called utf-8-sig), then Latin-1, or cp1252 where there
    are the typographic quotes and dashes that Latin-1 lacks. Every line end (LF, CR LF, CR CR LF, CR) becomes LF,
    characters that cannot be seen are removed, and the text is in Unicode normal form C.

    Raises:
        CorpusError: the bytes are binary, damaged UTF-8, or text in another encoding.
    """
    if raw.startswith(_UTF16_BOMS):
        raise CorpusError(
            "the text is UTF-16, which is not read here", remedy="save it as UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW"
        )
    if b"\0" in raw:
        raise _not_text("it is binary: there are NUL bytes in it")
    text, encoding = _characters(raw)
    if len(_CONTROLS.findall(text)) > 1 + _MAX_CONTROL_SHARE * len(text):
        raise _not_text("it is binary: more than 1 % of it are control characters")
    text = text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text)), encoding


def _characters(raw: bytes) -> tuple[str, str]:
    try:
        if raw.startswith(_UTF8_BOM):
            return raw.decode("utf-8-sig"), "utf-8-sig"
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        _refuse_damaged_utf8(raw, error.start)
    beyond_latin1 = {byte for byte in raw if 0x80 <= byte <= 0x9F}
    if not beyond_latin1:
        return raw.decode("latin-1"), "latin-1"
    if not set(bytes(beyond_latin1).decode("cp1252", errors="replace")) <= _CP1252_PROSE:
        raise _not_text("it is neither UTF-8 nor Latin-1 nor cp1252")
    return raw.decode("cp1252"), "cp1252"


def _refuse_damaged_utf8(raw: bytes, first_error: int) -> None:
    # Latin-1 accepts any byte, so one bad byte would turn every accent of a UTF-8 text into two wrong letters. In
    # Latin-1 prose, sequences that are valid UTF-8 hardly occur.
    text = raw.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    if len(re.findall(r"[^\x00-\x7f\ufffd]", text)) > broken:
        raise _not_text(f"it is damaged UTF-8: byte {first_error} does not belong there")


def _not_text(reason: str) -> CorpusError:
    return CorpusError(
        f"this is not a text that can be read: {reason}", remedy="give a plain text file, saved as UTF-8"
    )
