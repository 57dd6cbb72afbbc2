"""Decodes text files and detects their encoding."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

from minimal_llm.common.errors import CorpusError

_UTF8_BOM = b"\xef\xbb\xbf"
# In this order: the first begins with the third
_WIDE_BOMS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_MAX_CONTROL_SHARE = 0.01
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # not tab, line feed, vertical tab, form feed, carriage return
# Invisible characters: controls (a DOS end-of-file, a bell), byte order marks inside the text, soft hyphens, zero-width
# spaces, marks of the direction of writing. The zero-width joiners stay: emoji need one, Persian the other.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069]"
)
_OTHER_ENDS = re.compile(r"[\r\x85\u2028\u2029]")  # rare, and so many alternatives take time
_LINE_ENDS = re.compile(r"\r{0,2}\n|\r|\x85|\u2028")
# The characters that prose uses from those that cp1252 adds to Latin-1. The others reveal a different encoding: DOS and
# Mac code pages have their accented letters there.
_CP1252_PROSE = frozenset("€…Œœ‘’“”•–—™")
_DOS_WORD = re.compile(r"[a-z][¢£¤¥][a-z]")  # canción, música, niño: the letters that DOS has where Latin-1 has these
_LATIN1_LETTER = re.compile(r"[À-ÿ]")


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text in some bytes and the name of their encoding, as `bytes.decode` takes it.

    Strict UTF-8 comes first (utf-8-sig if there is a byte order mark), then Latin-1, or cp1252 if there are
    typographic quotes or dashes, which Latin-1 lacks. In the returned text all line endings (LF, CR LF, CR CR LF, CR,
    NEL, Unicode's line and paragraph separators) are LF, invisible characters are removed, and Unicode is in
    normalization form C.

    charset-normalizer is no substitute: it guesses an encoding for DOS and Mac text and for damaged UTF-8, and so
    puts wrong letters into the corpus instead of refusing the file.

    Raises:
        CorpusError: the bytes are binary, damaged UTF-8, or text in another encoding.
    """
    if wide := _wide_encoding(raw):
        raise CorpusError(
            f"the text is {wide}, which is not supported",
            remedy=f"convert it to UTF-8: iconv -f {wide} -t UTF-8 OLD > NEW",
        )
    if b"\0" in raw:
        raise _not_text("binary (it contains NUL bytes)")
    text, encoding = _characters(raw)
    if len(_CONTROLS.findall(text)) > 1 + _MAX_CONTROL_SHARE * len(text):
        raise _not_text("binary (more than 1% are control characters)")
    unix = text.replace("\r\n", "\n")
    text = _LINE_ENDS.sub("\n", text).replace("\u2029", "\n\n") if _OTHER_ENDS.search(unix) else unix
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text)), encoding


def _wide_encoding(raw: bytes) -> str | None:
    for mark, encoding in _WIDE_BOMS.items():
        if raw.startswith(mark):
            return encoding
    # Without a mark: in UTF-16, one byte of most letters is zero, always the same.
    sample = raw[:4096]
    first, second = sample[::2].count(0), sample[1::2].count(0)
    if min(first, second) == 0 and 4 * max(first, second) > len(sample):
        return "UTF-16BE" if first else "UTF-16LE"
    return None


def _characters(raw: bytes) -> tuple[str, str]:
    try:
        if raw.startswith(_UTF8_BOM):
            return raw.decode("utf-8-sig"), "utf-8-sig"
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        _refuse_damaged_utf8(raw, error.start)
    beyond_latin1 = {byte for byte in raw if 0x80 <= byte <= 0x9F}
    text = raw.decode("latin-1")
    dos = len(_DOS_WORD.findall(text)) > len(_LATIN1_LETTER.findall(text))
    if not beyond_latin1 and not dos:
        return text, "latin-1"
    if dos or not set(bytes(beyond_latin1).decode("cp1252", errors="replace")) <= _CP1252_PROSE:
        raise _not_text("neither UTF-8 nor Latin-1 nor cp1252")
    return raw.decode("cp1252"), "cp1252"


def _refuse_damaged_utf8(raw: bytes, first_error: int) -> None:
    # Latin-1 accepts any byte, so a single bad byte would turn every accented letter of a UTF-8 text into two wrong
    # ones. Valid UTF-8 sequences hardly ever occur in Latin-1 prose.
    with suppress(UnicodeDecodeError):
        raw.decode("utf-8", errors="surrogatepass")
        raise _not_text(f"damaged UTF-8 (half of a UTF-16 character at offset {first_error})")
    text = raw.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    if len(re.findall(r"[^\x00-\x7f\ufffd]", text)) > broken:
        raise _not_text(f"damaged UTF-8 (invalid byte at offset {first_error})")


def _not_text(reason: str) -> CorpusError:
    return CorpusError(f"not a readable text file: {reason}", remedy="use a plain text file, saved as UTF-8")
