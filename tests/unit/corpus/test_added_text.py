"""What others added to a text is removed, and a text about those others is not taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.cleaning import clean_book, is_transcription
from minimal_llm.corpus.gutenberg import check_book
from minimal_llm.corpus.text_files import read_documents
from tests.support.books import header, story

BOOK = ["THE LAMP OF THE HARBOUR", *story("en", 30)]
TERMS = (
    "Why is this here? You know: lawyers.\n\n"
    + "You may not sell this PROJECT GUTENBERG-tm etext without asking.\n\n" * 8
    + "*BEFORE!* YOU USE OR READ THIS ETEXT, Project Gutenberg wants you to agree.\n"
)
COPYRIGHTED = "**This is a COPYRIGHTED Project Gutenberg Etext, Details {}**"

# How the terms of the 1990s begin and end: for the public domain and for authors; the first had another form.
FREE, OWNED = "FOR PUBLIC DOMAIN ETEXTS", "FOR COPYRIGHT PROTECTED ETEXTS"
SMALL_PRINTS = {
    "1992": (f"***START**THE SMALL PRINT!**{FREE}**START***", f"*END*THE SMALL PRINT! {FREE}*Ver.04.29.92*END*"),
    "wrapped": (
        f"***START**THE SMALL PRINT!**{FREE}**START***",
        f"*END*THE SMALL PRINT! {FREE[:-6]}\nETEXTS*Ver.1*END*",
    ),
    "copyrighted": (f"***START** SMALL PRINT! for{OWNED[3:]} ***", f"*SMALL PRINT! Ver.04.29.93 {OWNED}*END*"),
    "END first": (f"***START**THE SMALL PRINT!**{OWNED}**START***", f"*END*THE SMALL PRINT! {OWNED}*Ver.07.02.92*END*"),
    "first": ('"Small Print!"', '["Small Print" V.12.08.93]'),
}


def of_the_nineties(style: str) -> str:
    """A copyrighted book with the terms above it."""
    start, end = SMALL_PRINTS[style]
    top = "The Project Gutenberg Etext of The Lamp\n\n*****This file should be named lamp10.txt*****"
    above, below = (COPYRIGHTED.format(place) for place in ("Below", "Above"))
    body = "\n\n".join(BOOK)
    return f"{above}\n\n{top}\n\n{start}\n\n{TERMS}\n{end}\n\n{body}\n\n{below}\n"


@pytest.mark.parametrize("style", SMALL_PRINTS)
def test_the_license_of_the_nineties_is_removed(style: str, tmp_path: Path) -> None:
    (tmp_path / "lamp10.txt").write_text(of_the_nineties(style), encoding="latin-1")
    [document] = read_documents([str(tmp_path / "lamp10.txt")])
    assert list(document.paragraphs) == BOOK


@pytest.mark.parametrize("style", SMALL_PRINTS)
def test_a_copyrighted_book_is_not_downloaded(style: str) -> None:
    with pytest.raises(CorpusError, match="copyrighted"):
        check_book(of_the_nineties(style).encode(), 1, "en")


def test_a_copyrighted_book_of_today_loses_its_header(tmp_path: Path) -> None:
    text = (
        f"{header('The Lamp')}\n**     This is a COPYRIGHTED Project Gutenberg eBook. Details Below.     **\n"
        "**  Please follow the copyright guidelines in this file.  **\n\n"
        "***START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK THE LAMP***\n\n{}\n\n"
        "***END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK THE LAMP***\n\nSection 1. Terms of Project Gutenberg-tm.\n"
    ).format("\n\n".join(BOOK))
    (tmp_path / "lamp.txt").write_text(text, encoding="utf-8")
    [document] = read_documents([str(tmp_path / "lamp.txt")])
    assert list(document.paragraphs) == BOOK


def test_a_notice_between_the_chapters_is_removed() -> None:
    notice = (
        "<<THIS ELECTRONIC VERSION OF THE COMPLETE WORKS IS COPYRIGHT\n1990 BY A COMPANY, AND IS PROVIDED BY PROJECT "
        "GUTENBERG ETEXT OF\nA COLLEGE.  ANY SERVICE THAT CHARGES FOR DOWNLOAD TIME OR FOR MEMBERSHIP.>>"
    )
    parts = [part for paragraph in BOOK for part in (paragraph, notice)]
    text = f"{header('The Lamp')}\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n" + "\n\n".join(parts)
    assert clean_book(f"{text}\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n") == BOOK


@pytest.mark.parametrize(
    "note",
    [
        "[Falta una línea en el original. (Nota del transcriptor.)]",
        "[«el» en el original (Nota del Transcriptor)]",
        "[Nota 3: así en el original. (Nota de la transcriptora.)]",
        "[El original dice [sic] «cois».\n\nY nada más se sabe.\n\n(Nota del transcriptor.)]",
        "[Una línea ilegible. --Nota del transcriptor.]",
        "[A line is missing. (Transcriber's note.)]",
        "[TN: a line is missing.]",
        "[T. N.: a line is missing.]",
        "[Note by the transcriber: a line is missing.]",
        "[N. del transcriptor: falta una línea.]",
        "[Nota del transcriptor: falta una línea.\n\nY aquí [otra].\n\nFin.]",
        "[Transcriber's Note: the [Illustration] of the lamp was moved.\n\nNothing else.]",
        "[Transcriber's Note: " + "\n\n".join(f"Page {page}: a comma was added." for page in range(200)) + "]",
    ],
    ids=range(13),
)
@pytest.mark.parametrize("inline", [False, True], ids=["paragraph", "inline"])
def test_a_bracketed_note_of_the_transcriber_is_removed_whole(note: str, inline: bool) -> None:
    assert is_transcription(note)
    if inline:
        assert clean_book(f"One.\n\nThe lamp {note}\nburned [1].\n\n[2] Two.") == [
            "One.",
            "The lamp burned [1].",
            "[2] Two.",
        ]
    else:
        assert clean_book(f"One [1].\n\n{note}\n\n[2] Two.") == ["One [1].", "[2] Two."]


@pytest.mark.parametrize(
    "kept",
    [
        "[Una palabra catalana. (N. del T.)]",
        "[Nota del traductor: una palabra catalana.]",
        "[Nota 1: «el» en el original (N. del E.)]",
        "[Note: a line is missing.]",
        "[tn is short for town]",
        "[1] The transcriber of the deeds went home.",
        "The transcriber's note was a low one, [he said].",
        "She sang [a high note].",
    ],
)
def test_other_brackets_are_kept(kept: str) -> None:
    assert clean_book(f"One.\n\n{kept}\n\nTwo.") == ["One.", kept, "Two."]


def test_a_signed_note_whose_bracket_never_opens_takes_nothing_with_it() -> None:
    assert clean_book("[1] One.\n\nTwo (Nota del transcriptor.)] three.") == [
        "[1] One.",
        "Two (Nota del transcriptor.)] three.",
    ]


ABOUT = [
    "PROJECT GUTENBERG: A HISTORY",
    "Project Gutenberg's first text was typed in 1971.",
    *(
        f"In year {year}, the full Project Gutenberg collection had more ebooks than before, and its license was "
        "discussed at www.gutenberg.org by those who gave donations and wrote of copyright and the public domain."
        for year in range(1971, 2001)
    ),
    "Nobody could see the\nend of Project Gutenberg in those days.",
    "The end of Project Gutenberg was announced, and it did not come.",
    *story("en", 60),
]


@pytest.mark.parametrize("framed", [True, False], ids=["published by the project", "with a note"])
def test_a_book_about_the_project_is_kept_whole(framed: bool, tmp_path: Path) -> None:
    body = "\n\n".join(ABOUT)
    text = (
        f"{header('A History')}\n*** START OF THE PROJECT GUTENBERG EBOOK A HISTORY ***\n\nProduced by A Volunteer\n\n"
        f"{body}\n\n*** END OF THE PROJECT GUTENBERG EBOOK A HISTORY ***\n\nTerms of Project Gutenberg-tm.\n"
        if framed
        else f"{body}\n\n[Transcriber's Note: spelling kept.]\n"
    )
    (tmp_path / "history.txt").write_text(text, encoding="utf-8")
    [document] = read_documents([str(tmp_path / "history.txt")])
    assert document.paragraphs == tuple(" ".join(paragraph.split()) for paragraph in ABOUT)


def test_an_essay_about_the_project_is_not_cleaned(tmp_path: Path) -> None:
    (tmp_path / "essay.txt").write_text("\n\n".join([*ABOUT, "It has _stars_ = *** and more."]), encoding="utf-8")
    [document] = read_documents([str(tmp_path / "essay.txt")])
    assert document.paragraphs[-1] == "It has _stars_ = *** and more."


def test_license_text_inside_a_book_about_the_project_is_still_refused() -> None:
    terms = "You agree to the terms of this Project Gutenberg-tm electronic work.\n\n" * 9
    with pytest.raises(CorpusError, match="license text"):
        clean_book("\n\n".join([*ABOUT, terms, *ABOUT]))
