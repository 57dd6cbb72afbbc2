"""Synthetic books in every file style that Project Gutenberg has used since the 1990s."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

Style = Literal["modern", "older", "tight", "wrapped", "small_print", "footer_only", "bare"]
STYLES: tuple[Style, ...] = ("modern", "older", "tight", "wrapped", "small_print", "footer_only", "bare")

TITLES = {"en": "The Lamp of the Harbour", "es": "La lámpara del puerto", "fr": "La lampe du port"}
AUTHOR = "Ada Nadie"

_SENTENCES = {
    "en": (
        ("The keeper", "Her brother", "An old sailor", "The smallest child", "That stranger", "The miller"),
        ("looked for the key of the tower", "told them what he had seen", "would not wait for the boat"),
        ("because the wind was with us", "before the others could answer", "and this was not the first time"),
    ),
    "es": (
        ("El farero", "Su hermana", "Un viejo marinero", "La niña más pequeña", "Aquel extraño", "El molinero"),
        ("buscaba la llave de la torre", "les contó todo lo que había visto", "no quiso esperar a la barca"),
        ("porque el viento estaba con nosotros", "antes de que los otros contestaran", "y esta no fue la primera vez"),
    ),
    "fr": (
        ("Le gardien", "Sa sœur", "Un vieux marin", "Le plus petit enfant", "Cet étranger", "Le meunier"),
        ("cherchait la clef dans le château", "leur racontait des histoires", "ne voulait pas attendre le bateau"),
        ("parce qu'il faisait déjà nuit", "avant que les autres ne répondent", "et ce n'était pas son affaire"),
    ),
}

_LICENSE = """
Updated editions will replace the previous one.

{second}THE FULL PROJECT GUTENBERG LICENSE
PLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK

To protect the Project Gutenberg-tm mission, by using this work you agree to the
Full Project Gutenberg License available with this file or at www.gutenberg.org.

Section 1.  General Terms of Use of Project Gutenberg-tm electronic works

1.A.  By reading any part of this Project Gutenberg-tm electronic work you accept
the terms.  1.E.  Unless you have removed all references to Project Gutenberg.
"""


@dataclass(frozen=True)
class SyntheticBook:
    """The text of a file with LF line endings, and the paragraphs of the book in it."""

    text: str
    paragraphs: tuple[str, ...]

    @property
    def raw(self) -> bytes:
        return b"\xef\xbb\xbf" + self.text.replace("\n", "\r\n").encode("utf-8")


def story(language: str, count: int) -> list[str]:
    """Return `count` different paragraphs, up to several thousand."""
    starts, middles, ends = _SENTENCES[language]
    sentences = [f"{a} {b} {c}." for a, b, c in product(starts, middles, ends)]
    return [
        " ".join(sentences[(number * step + number // len(sentences)) % len(sentences)] for step in (1, 5, 7))
        + f" ({number + 1})"
        for number in range(count)
    ]


def synthetic_book(language: str, paragraphs: int = 40, style: Style = "modern") -> SyntheticBook:
    """Return a book in `language` as a file of that style: header, title page, paragraphs, footer and license."""
    body = [TITLES[language], AUTHOR, *story(language, paragraphs)]
    wrapped = "\n\n".join(_wrap(paragraph) for paragraph in body)
    top, bottom = _frame(style, TITLES[language])
    return SyntheticBook(f"{top}\n\n{wrapped}\n\n{bottom}", tuple(body))


def header(title: str, author: str = AUTHOR, language: str = "English") -> str:
    return (
        f"The Project Gutenberg eBook of {title}\n\nThis ebook is for the use of anyone anywhere under the terms\n"
        f"of the Project Gutenberg License at www.gutenberg.org.\n\nTitle: {title}\n\nAuthor: {author}\n\n"
        f"Release date: June 1, 2008\n                Most recently updated: May 2, 2024\n\n"
        f"Language: {language}\n\nCredits: A Volunteer\n"
    )


def _frame(style: Style, title: str) -> tuple[str, str]:
    capitals = title.upper()
    terms = _LICENSE.format(second="")
    old_terms = _LICENSE.format(second="*** START: FULL LICENSE ***\n\n")
    file_line = "***** This file should be named 1-8.txt or 1-8.zip *****\n\nProduced by A Volunteer\n"
    match style:
        case "modern":
            return (
                f"{header(title)}\n*** START OF THE PROJECT GUTENBERG EBOOK {capitals} ***",
                f"*** END OF THE PROJECT GUTENBERG EBOOK {capitals} ***\n{terms}",
            )
        case "older":
            return (
                f"{header(title)}\n*** START OF THIS PROJECT GUTENBERG EBOOK {capitals[:9]} ***\n\n\n\n"
                "Produced by A Volunteer and the Online Distributed\nProofreading Team at http://www.pgdp.net\n",
                f"End of Project Gutenberg's {title}, by {AUTHOR}\n\n"
                f"*** END OF THIS PROJECT GUTENBERG EBOOK {capitals[:9]} ***\n\n{file_line}{old_terms}",
            )
        case "tight":
            return (
                f"{header(title)}\n***START OF THE PROJECT GUTENBERG EBOOK {capitals}***\n\n\n"
                "E-text prepared by A Volunteer\n\n\nNote: Project Gutenberg also has an HTML version of this\n"
                "      file which includes the original illustrations.\n      (http://www.gutenberg.net/1/1-h.htm)\n\n"
                "      Images of the original pages are available.  See\n      https://archive.example/lamp\n",
                f"***END OF THE PROJECT GUTENBERG EBOOK {capitals}***\n\n\n******* {file_line}{old_terms}",
            )
        case "wrapped":
            return (
                f"{header(title)}\n*** START OF THE PROJECT GUTENBERG EBOOK {capitals}: OR,\nTHE LONG WAY HOME ***",
                f"*** END OF THE PROJECT GUTENBERG EBOOK {capitals}: OR,\nTHE LONG WAY HOME ***\n{terms}",
            )
        case "small_print":
            return (
                f"*******The Project Gutenberg Etext of {title}*******\n*****This file should be named lamp10.txt****\n"
                f"\nTitle: {title}\n\nAuthor: {AUTHOR}\n\nInformation about Project Gutenberg (one page)\n\n"
                "**Information prepared by the Project Gutenberg legal advisor**\n\n"
                "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n\n"
                "Why is this here?  You know: lawyers.\n*BEFORE!* YOU USE OR READ THIS ETEXT\n\n"
                "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.08.29.92*END*\n\n"
                f"This etext was prepared by A Volunteer, lamp@example.org",
                f"End of The Project Gutenberg Etext of {title}\n",
            )
        case "footer_only":
            return (
                "",
                f"End of the Project Gutenberg EBook of {title}, by\n{AUTHOR}\n\n"
                f"*** END OF THIS PROJECT GUTENBERG EBOOK {capitals} ***\n\n{file_line}{old_terms}",
            )
        case "bare":
            return "", ""


def _wrap(paragraph: str) -> str:
    lines = [""]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) > 70:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
