"""Decoding and cleaning, with every irregularity of Project Gutenberg files, on synthetic books."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.boilerplate import carries_markers, has_end, read_header, strip_gutenberg
from minimal_llm.corpus.charset import decode
from minimal_llm.corpus.cleaning import clean_book, is_transcription, split_paragraphs
from tests.support.books import AUTHOR, STYLES, TITLES, Style, header, synthetic_book

SPANISH = "¿Qué señor? —preguntó el niño—. «Mañana».\n"


# --- decoding


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (SPANISH.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + SPANISH.encode(), "utf-8-sig"),
        (SPANISH.replace("—", "--").encode("latin-1"), "latin-1"),
        (SPANISH.encode("cp1252"), "cp1252"),
        (b"plain", "utf-8"),
        (b"", "utf-8"),
    ],
)
def test_the_encoding_is_detected_and_decodes_the_text(raw: bytes, encoding: str) -> None:
    text, detected = decode(raw)
    assert detected == encoding
    assert text == raw.decode(encoding)


def test_latin1_text_is_decoded_even_if_its_header_claims_utf8() -> None:
    raw = ("Character set encoding: UTF-8\n\n" + "El niño comió.\n").encode("latin-1")
    assert decode(raw) == ("Character set encoding: UTF-8\n\nEl niño comió.\n", "latin-1")


@pytest.mark.parametrize(
    "raw",
    [
        b"A long text. " * 100 + b"\x00",
        bytes(range(1, 32)) * 20,
        SPANISH.replace("—", "-").replace("«", '"').replace("»", '"').encode("cp850"),
        SPANISH.replace("—", "-").encode("mac-roman"),
        SPANISH.encode("utf-16"),
        SPANISH.encode() * 5 + b"\xff" + SPANISH.encode(),  # damaged UTF-8 is not Latin-1
    ],
    ids=["nul", "controls", "dos", "mac", "utf-16", "damaged"],
)
def test_undecodable_bytes_are_rejected(raw: bytes) -> None:
    with pytest.raises(CorpusError) as caught:
        decode(raw)
    assert caught.value.remedy


def test_damaged_utf8_is_reported_with_its_offset() -> None:
    with pytest.raises(CorpusError, match="offset 4"):
        decode("año ".encode()[:4] + b"\xc3" + "ñandú año".encode())


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r\r\n", "\r"])
def test_every_line_ending_becomes_lf(line_end: str) -> None:
    assert decode(line_end.join(["one", "two", "", "three", ""]).encode())[0] == "one\ntwo\n\nthree\n"


def test_text_is_normalized_and_invisible_characters_are_removed() -> None:
    assert decode("nin\u0303o co\u00admio\u0301\u200b \ufefffin\x1a".encode())[0] == "niño comió fin"
    assert decode("👩‍👩‍👧".encode())[0] == "👩‍👩‍👧"


# --- paragraphs


def test_lines_between_blank_lines_are_joined_and_whitespace_collapses() -> None:
    text = "\n  one\ttwo\n   three \n \t \n\n\nfour\u00a0\u2003five\x0csix\n\u2028seven"
    assert split_paragraphs(text) == ["one two three", "four five six seven"]


@given(st.text(alphabet=st.sampled_from("ab .\n\t\r\u2028\x0b\x1c\x85\u00a0"), max_size=80))
def test_each_paragraph_is_one_line_and_no_word_is_lost(text: str) -> None:
    paragraphs = split_paragraphs(text)
    assert all(paragraph.splitlines() == [paragraph] and paragraph == paragraph.strip() for paragraph in paragraphs)
    assert " ".join(paragraphs).split() == text.split()


# --- header, license, footer


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_book_and_nothing_else(style: Style, language: str) -> None:
    book = synthetic_book(language, 30, style)
    assert clean_book(book.text) == list(book.paragraphs)
    assert clean_book(decode(book.raw)[0]) == list(book.paragraphs)
    assert not re.search(r"START OF|END OF|End of|\*END\*", strip_gutenberg(book.text))


@pytest.mark.parametrize("style", STYLES)
def test_markers_and_the_end_are_recognized(style: Style) -> None:
    text = synthetic_book("en", 5, style).text
    assert carries_markers(text) == has_end(text) == (style != "bare")


@pytest.mark.parametrize("style", ["modern", "older", "tight", "wrapped", "small_print"])
def test_the_header_gives_title_and_author(style: Style) -> None:
    found = read_header(synthetic_book("es", 5, style).text)
    assert (found.title, found.authors) == (TITLES["es"], (AUTHOR,))


def test_a_header_with_a_long_title_and_several_authors() -> None:
    text = header("The Lamp\n        of the Harbour", "Ada Nadie\n        Beto Nadie\n\nAuthor: Celia Nadie", "Spanish")
    found = read_header(f"{text}\n*** START OF THE PROJECT GUTENBERG EBOOK THE LAMP ***\n\nTitle: not this\n")
    assert found.title == "The Lamp of the Harbour"
    assert found.authors == ("Ada Nadie", "Beto Nadie", "Celia Nadie")


def test_a_header_without_start_marker_is_cut_after_its_fields() -> None:
    text = f"{header('The Lamp')}\nThe first words.\n\nEnd of Project Gutenberg's The Lamp, by {AUTHOR}\n"
    assert clean_book(text) == ["The first words."]


def test_text_on_the_line_of_the_closing_stars_is_kept() -> None:
    text = (
        "*** START OF THE PROJECT GUTENBERG EBOOK A *** The first words.\n\n*** END OF THE PROJECT GUTENBERG EBOOK ***"
    )
    assert clean_book(text) == ["The first words."]


def test_a_start_marker_that_never_closes_costs_one_line() -> None:
    text = "*** START OF THE PROJECT GUTENBERG EBOOK A\n\nOne.\n\nTwo.\n\n*** END OF THE PROJECT GUTENBERG EBOOK A ***"
    assert clean_book(text) == ["One.", "Two."]


def test_no_book_in_a_file_of_several_is_dropped_silently() -> None:
    one = synthetic_book("en", 10, "older").text
    with pytest.raises(CorpusError, match="license text"):
        clean_book(one + "\n\n" + one)


def test_a_small_print_at_the_end_does_not_swallow_the_book() -> None:
    text = (
        "Words.\n\n" * 900 + "End of The Project Gutenberg Etext of A\n\n*END*THE SMALL PRINT! FOR ETEXTS*END*\n\nmore"
    )
    assert clean_book(text) == ["Words."] * 900


def test_text_without_markers_is_unchanged() -> None:
    assert strip_gutenberg("One.\n\nTwo.\n") == "\nOne.\n\nTwo.\n"
    assert not is_transcription("One.\n\nTwo * three _four_.\n")


def test_gutenberg_the_printer_is_kept() -> None:
    assert clean_book("Gutenberg printed the first books.\n\nThe project of a bridge.") == [
        "Gutenberg printed the first books.",
        "The project of a bridge.",
    ]


# --- transcribers' additions


@pytest.mark.parametrize(
    "credit",
    [
        "Produced by A Volunteer and B Volunteer. HTML version by C.",
        "E-text prepared by A Volunteer\nand the Online Distributed Proofreading Team\n(http://www.pgdp.net)",
        "Transcribed from the 1886 edition by A Volunteer, email a@example.org",
        "This eBook was produced by A Volunteer",
        "Note: Images of the original pages are available at\n      https://archive.example/1",
    ],
)
def test_credits_at_the_top_are_removed(credit: str) -> None:
    assert clean_book(f"\n\n{credit}\n\n\n\nTHE LAMP\n\nIt burned.") == ["THE LAMP", "It burned."]


@pytest.mark.parametrize("first", ["--¿Quién va?", "-I-", "* A note of the author.", "Prepared for anything, he left."])
def test_the_first_words_of_a_book_are_not_mistaken_for_credits(first: str) -> None:
    assert clean_book(f"Produced by A Volunteer\n\n{first}\n\nTwo.") == [first, "Two."]


def test_unmistakable_credits_below_the_title_page_are_removed() -> None:
    text = "THE LAMP\n\nThis etext was prepared by A Volunteer\n\nProduced by steam, the light was strong."
    assert clean_book(text) == ["THE LAMP", "Produced by steam, the light was strong."]


@pytest.mark.parametrize(
    "note",
    [
        "[Transcriber's Note: spelling kept.]",
        "[Transcriber’s note:\n\nSpelling kept [sic].\n\nNothing else.]",
        "[Nota del transcriptor: se ha respetado la ortografía.]",
        "Transcriber's Note: spelling kept.",
        "TRANSCRIBER’S NOTES\n\nSpelling kept.\n\nA table of contents was added.\n\n",
        "Nota del Transcriptor:\n\nSe ha respetado la ortografía.\n\nLas erratas se han corregido.\n\n",
        "NOTA DE TRANSCRIPCIÓN\n\n  * Una cosa larga\n    en dos líneas.\n\n  * Otra cosa.\n\n  * Y otra.\n\n\n",
        "PREPARER’S NOTE\n\n     The text is based\n     on an old edition.\n\n\n\n",
        "+-------------+\n| Transcriber's Note:|\n|                    |\n| Spelling kept.     |\n+-------------+",
    ],
    ids=["bracket", "brackets", "corchete", "line", "heading", "encabezado", "bullets", "preparer", "box"],
)
@pytest.mark.parametrize("place", ["top", "middle", "end"])
def test_transcribers_notes_are_removed_and_their_neighbors_kept(note: str, place: str) -> None:
    book = ["THE LAMP", "It burned.", "It went out."]
    parts = list(book)
    parts.insert({"top": 0, "middle": 2, "end": 3}[place], note)
    assert clean_book("\n\n".join(parts)) == book
    assert is_transcription(note)


def test_a_note_without_a_gap_after_it_does_not_swallow_the_book() -> None:
    book = [f"Paragraph {number}." for number in range(200)]
    kept = clean_book("\n\n".join(["Transcriber's Note", "Spelling kept.", *book]))
    assert kept == book


@pytest.mark.parametrize("word", ["Illustration", "Ilustración", "ILLUSTRATION", "Ilustracion", "_Illustration"])
def test_illustrations_are_removed_with_all_their_paragraphs(word: str) -> None:
    text = (
        f"[{word}]\n\nOne.\n\n[{word}: a lamp]\n\n[{word}:\n\n“A lamp”\n\n[_Copyright 1894 by [the] owner._]]\n\nTwo,\n"
        f"[{word}: between lines]\nwhich [{word}] goes on [1].\n\n[1] A note of the book."
    )
    assert clean_book(text) == ["One.", "Two, which goes on [1].", "[1] A note of the book."]


def test_an_unclosed_bracket_does_not_swallow_the_book() -> None:
    book = [f"Paragraph {number} [see {number}]." for number in range(100)]
    broken = ["[Illustration: never closed", "[Illustration: closed]", *book, "[Transcriber's Note: to the end"]
    assert clean_book("\n\n".join(broken)) == book


def test_a_stray_bracket_does_not_close_an_unclosed_one() -> None:
    assert clean_book("[Illustration: open\n\nOne.\n\n[Illustration: x]\n\nTwo].") == ["One.", "Two]."]
    book = [*(f"Paragraph {number} of the long book." for number in range(200)), "A stray ] here."]
    assert clean_book("\n\n".join(["[Illustration: open", *book])) == book


def test_italic_and_bold_markup_is_removed_and_the_words_kept() -> None:
    text = (
        "It is _so_ dark, _Un_important, 7_s_. 6_d_.\n\n=CHAPTER I.= The +lamp+ of Mr. ____, a=b, 1+1=2.\n\n_One\ntwo_."
    )
    assert clean_book(text) == [
        "It is so dark, Unimportant, 7s. 6d.",
        "CHAPTER I. The lamp of Mr. ____, a=b, 1+1=2.",
        "One two.",
    ]


def test_leftovers_of_proofreading_tools_are_removed() -> None:
    assert clean_book(
        "/* NIND “My dear friend, */\n\n/* RIGHT “London, _May 1_. */\n\nM^{rs}. Lamp\n\n/* “Dear Sir, */"
    ) == [
        "“My dear friend,",
        "“London, May 1.",
        "Mrs. Lamp",
        "“Dear Sir,",
    ]


@pytest.mark.parametrize(
    "ornament", ["* * *", "*       *       *", "-----", "* * *\n  * *\n* * *", "=====", "—", "_____"]
)
def test_rows_of_ornaments_are_removed(ornament: str) -> None:
    assert clean_book(f"One.\n\n{ornament}\n\nTwo.") == ["One.", "Two."]


@pytest.mark.parametrize("kept", ["-I-", "--¿...?", "* A note.", "...", "1872.", "--No.", "+---+ | A | +---+"])
def test_text_that_resembles_an_ornament_is_kept(kept: str) -> None:
    assert clean_book(f"One.\n\n{kept}\n\nTwo.") == ["One.", kept, "Two."]


# --- properties


_LINES = st.sampled_from(
    [
        "",
        "",
        "One.",
        "  indented",
        "* bullet",
        "[Illustration",
        "]",
        "[Transcriber's Note:",
        "Transcriber's Note",
        "*** START OF THE PROJECT GUTENBERG EBOOK",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***",
        "End of Project Gutenberg's X",
        "***",
        "*END*THE SMALL PRINT!",
        "_",
        "=a=",
        "/* x */",
    ]
)


@settings(max_examples=200)
@given(st.lists(_LINES, max_size=30))
def test_any_mixture_of_markup_gives_clean_paragraphs(lines: list[str]) -> None:
    for paragraph in clean_book("\n".join(lines)):
        assert paragraph
        assert paragraph == " ".join(paragraph.split())
        assert "Project Gutenberg" not in paragraph


@pytest.mark.parametrize(
    "text",
    [
        "[Illustration " * 20_000,
        "[" * 200_000,
        "[Illustration: x]\n\n" * 10_000,
        "*" * 200_000,
        "=a" * 100_000,
        "_ " * 100_000,
        "/* " * 100_000,
        " " * 200_000,
        "\r" * 200_000,
        "Transcriber's Note\n\n" * 5_000,
        "*** START OF THE PROJECT GUTENBERG EBOOK\n" * 5_000,
        "project " * 50_000,
        "^{" * 100_000,
        "x [TN:\n" * 30_000,
        "[a (Nota del transcriptor.)] (Nota del transcriptor.)]\n" * 4_000,
        "End of Project Gutenberg\n\n" * 8_000,
    ],
    ids=range(16),
)
def test_pathological_texts_take_linear_time(text: str) -> None:
    began = time.process_time()
    clean_book(decode(text.encode())[0])
    assert time.process_time() - began < 2.0
