"""What a fuzzer feeds to decoding and cleaning: TARGETS, each a function of bytes that asserts what it promises.

Bytes become a text of markup and letters, so that a fuzzer puts together what transcribers do and not only noise.
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.boilerplate import carries_markers, has_end, read_header, strip_gutenberg
from minimal_llm.corpus.charset import decode
from minimal_llm.corpus.cleaning import clean_book, split_paragraphs
from minimal_llm.corpus.file_formats import binary_format, text_format
from minimal_llm.corpus.language_detection import detect_language
from minimal_llm.corpus.text_files import read_documents
from tests.support.books import STYLES, synthetic_book

FRAGMENTS = (
    "\n", "\n\n", "\n\n\n", "  ", "The lamp burned. ", "Ardía la lámpara. ", "[", "]", "(", ")", "_", "=", "*", "* * *",
    "[Illustration", "[Ilustración: ", "[Transcriber's Note: ", "(Nota del transcriptor.)]", "Transcriber's Note\n",
    "NOTA DE TRANSCRIPCIÓN", "[TN: ", "*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** START OF THIS PROJECT",
    "*** END OF THE PROJECT GUTENBERG EBOOK X ***", "End of Project Gutenberg's X", "end of Project Gutenberg",
    "***START**THE SMALL PRINT!**", "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.1*END*", "Title: A\n",
    "*SMALL PRINT! Ver.04.29.93 FOR COPYRIGHT PROTECTED ETEXTS*END*", "Project Gutenberg", "Project Gutenberg-tm",
    "Author: B\n", "Produced by A Volunteer", "http://www.pgdp.net", "THE FULL PROJECT GUTENBERG LICENSE\n", "^{rs}",
    "/* NIND ", " */", "<html>", "</html>", "<p>", "<!--", "-->", "<?xml ?>", '{"a": ', "a,b,c\n", "1;2\n", '"', "\t",
    "\r", "\r\n", "\x85", "\u2028", "\ufeff", "\u0301", "\u200b", "\u202e", "<<THIS ELECTRONIC VERSION OF ", ">>", "Ñ",
    "😀", "ﬁ", "שלום",
)  # fmt: skip


def text_of(data: bytes) -> str:
    """Return a text in which each byte from 128 on is a fragment of markup, and any other a character."""
    return "".join(FRAGMENTS[byte % len(FRAGMENTS)] if byte >= 128 else chr(byte) for byte in data)


def assert_clean(paragraphs: Iterable[str]) -> None:
    """Assert what a document promises of its paragraphs."""
    for paragraph in paragraphs:
        assert paragraph
        assert paragraph == " ".join(paragraph.split())
        assert paragraph.splitlines() == [paragraph]
        paragraph.encode("utf-8")


def assert_refusal(error: CorpusError, name: str = "") -> None:
    """Assert that an error says what is wrong, with which file, and what to do."""
    assert error.message
    assert name in error.message
    assert error.remedy


def charset(data: bytes) -> None:
    """Any bytes: refused with a remedy, or a text in NFC without controls that decodes to itself."""
    try:
        text, encoding = decode(data)
    except CorpusError as error:
        assert_refusal(error)
        return
    data.decode(encoding)
    assert unicodedata.is_normalized("NFC", text)
    assert not any(unicodedata.category(character) == "Cc" and character not in "\n\t\v\f" for character in text)
    assert decode(text.encode("utf-8"))[0] == text


def formats(data: bytes) -> None:
    """Any bytes and any text are of one format or none."""
    binary_format(data)
    text_format(text_of(data))


def boilerplate(data: bytes) -> None:
    """What is left of a text between its markers is a part of it, line by line."""
    text = text_of(data)
    body = strip_gutenberg(text)
    assert has_end(text) <= carries_markers(text)
    assert len(body) <= len(text) + 1
    read_header(text)
    rest, *lines = body.split("\n")
    if "<<" not in text:  # a notice is cut out of its line
        assert rest in text
        assert "\n".join(lines) in text


def cleaning(data: bytes) -> None:
    """Any text: clean paragraphs of its own words in their order, or a refusal."""
    text = text_of(data)
    assert_clean(split_paragraphs(text))
    assert " ".join(split_paragraphs(text)).split() == text.split()
    with suppress(CorpusError):
        assert_clean(clean_book(text))
    detect_language(text)


def framed_book(data: bytes) -> None:
    """A book comes out of the frame of every style as it went in, whatever its words."""
    words = "".join(chr(97 + byte % 26) if byte % 7 else " " for byte in data).split() or ["a"]
    for style in STYLES:
        book = synthetic_book("en", 3, style)
        text = book.text.replace("(3)", " ".join(words))
        assert clean_book(text) == [paragraph.replace("(3)", " ".join(words)) for paragraph in book.paragraphs]


def own_file(data: bytes) -> None:
    """Any file: documents of clean paragraphs, or a refusal that names the file."""
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        path = Path(folder) / "own.txt"
        path.write_bytes(data if len(data) % 2 else text_of(data).encode("utf-8"))
        try:
            documents = list(read_documents([str(path)]))
        except CorpusError as error:
            assert_refusal(error, "own.txt")
            return
    for document in documents:
        assert document.paragraphs
        assert_clean(document.paragraphs)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "charset": charset,
    "formats": formats,
    "boilerplate": boilerplate,
    "cleaning": cleaning,
    "framed_book": framed_book,
    "own_file": own_file,
}


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with: every fragment, and a book of each style."""
    books = [synthetic_book("es", 2, style).raw for style in STYLES]
    return [bytes(range(128, 256)), *books] if target in ("charset", "own_file") else [bytes(range(128, 256))]
