"""Extracts the paragraphs of a book from the text of a file, without anything that transcribers added."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.boilerplate import carries_markers, strip_gutenberg

# "Transcriber's Note", "PREPARER’S NOTE", "NOTA DE TRANSCRIPCIÓN", "Notas del Transcriptor", also inside a box.
_NOTE_NAME = (
    r"(?:(?:transcriber|preparer)s?['’]?s?\s+(?:end\s?)?(?:notes?|corrections?)|transcription\s+notes?|"
    r"notas?\s+(?:del?|de\s+la|de\s+l[oa]s)\s+transcri\w+)\b(?:\(s\))?"
)
_NOTE = re.compile(rf"\W*{_NOTE_NAME}", re.I)
_BRACKETED = re.compile(rf"\[\s*_?(?:illustrations?\b|ilustraci(?:[oó]n|ones)\b|transcriber\b|{_NOTE_NAME})", re.I)
_MAX_BRACKETED = 3000  # characters; the longest caption seen has about 300
_MAX_NOTE_BLOCKS = 40
_MAX_HEADING_REST = 15  # characters that may follow "Transcriber's Note" in a heading
_BULLETS = ("*", "-", "•", "·")

_CREDIT = re.compile(r"\W*(?:e-?text|text|html version)?\s*(?:produced|prepared|transcribed|digiti[sz]ed) by\b", re.I)
_SURE_CREDIT = re.compile(
    r"\W*(?:transcribed from|(?:this |the )?(?:e-?text|e-?book|electronic (?:text|edition|version))\b.{0,60}\b"
    r"(?:prepared|produced|transcribed|scanned|typed|created|converted)\b.{0,40}\bby\b)"
    r"|.*\b(?:pgdp\.net|distributed proofread)",
    re.I,
)
_TOP_BLOCKS = 12  # the beginning of a book, where credits may follow a title page
_URL = re.compile(r"https?://|\bwww\.", re.I)
_TITLE_LINE = re.compile(
    r"(?:the )?project gutenberg(?:['’]s (?:e-?(?:text|book) of )?| e-?(?:text|book)(?: of|,) )", re.I
)
_MAX_TITLE_LINE = 200
_PROJECT = re.compile(r"project\s+gutenberg|gutenberg-tm|\bgutenberg\.(?:org|net)|\bpglaf\b", re.I)
_MAX_STRAY = 5  # paragraphs that name the project outside header and footer; a license has dozens

_SUPERSCRIPT = re.compile(r"\^\{([^{}]*)\}")
_ITALICS = re.compile(r"(?<!_)_(?!_)")  # a run of underscores is a name left blank
_BOLD = re.compile(r"(?<![\w=+])([=+])(?=[^\W_]|[¿¡“\"«'(])([^=+]{0,200}[\w.,;:!?”\"»')])\1(?![\w=+])")
_FORMATTING = re.compile(
    r"/\*\s(?:(?:NIND|RIGHT|CENTER|BLOCK)\s)?([^*/]{0,300})\s\*/"
)  # left behind by proofreading tools
_ORNAMENT = re.compile(r"[\s*_=~+#•·|\-–—]*")


@dataclass(frozen=True)
class _Block:
    """The lines of a paragraph, and the number of blank lines above it."""

    lines: tuple[str, ...]
    gap: int
    text: str  # the lines joined, with whitespace collapsed

    @property
    def bullet(self) -> bool:
        return self.lines[0].lstrip().startswith(_BULLETS)

    @property
    def indented(self) -> bool:
        return all(line[:1].isspace() for line in self.lines)


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs: the lines between blank lines, joined, with whitespace collapsed."""
    return [block.text for block in _blocks(text)]


def is_transcription(text: str) -> bool:
    """Return whether `text` has traces of a transcription and must be cleaned as a book."""
    return carries_markers(text) or bool(_BRACKETED.search(text)) or any(map(_NOTE.match, text.split("\n")))


def clean_book(text: str) -> list[str]:
    """Return the paragraphs of the book in a decoded Project Gutenberg file, from title page to footnotes.

    Header, license, footer, credits, transcribers' notes, illustrations with their captions and rows of ornaments are
    dropped, and the markup for italics and bold is removed.

    Raises:
        CorpusError: there is license text where no known file style has it.
    """
    blocks = _blocks(_without_bracketed(strip_gutenberg(text)))
    blocks = _without_project(_without_notes(_without_credits(blocks)))
    paragraphs = (_without_markup(block.text) for block in blocks)
    return [paragraph for paragraph in paragraphs if not _ORNAMENT.fullmatch(paragraph)]


def _blocks(text: str) -> list[_Block]:
    blocks: list[_Block] = []
    lines: list[str] = []
    gap = 0
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            blocks.append(_Block(tuple(lines), gap, " ".join(" ".join(lines).split())))
            lines, gap = [], 1
        else:
            gap += 1
    return blocks


def _without_bracketed(text: str) -> str:
    kept: list[str] = []
    position = 0
    for match in _BRACKETED.finditer(text):
        if match.start() < position:
            continue
        end = _closing(text, match)
        kept.append(text[position : match.start()])
        position = end
        # Drop the whole line if nothing else is on it: a blank line would split the paragraph.
        line_start = text.rfind("\n", 0, match.start()) + 1
        line_end = text.find("\n", end)
        if line_end >= 0 and not (text[line_start : match.start()] + text[end:line_end]).strip():
            position = line_end + 1
    kept.append(text[position:])
    return "".join(kept)


def _closing(text: str, opening: re.Match[str]) -> int:
    # A bracket that is not closed before the next illustration ends with its line.
    start = opening.start()
    following = _BRACKETED.search(text, opening.end())
    limit = min(start + _MAX_BRACKETED, following.start() if following else len(text))
    depth = 0
    for bracket in re.compile(r"[\[\]]").finditer(text, start, limit):
        depth += 1 if bracket[0] == "[" else -1
        if not depth:
            return bracket.end()
    line_end = text.find("\n", start)
    return line_end if line_end >= 0 else len(text)


def _without_credits(blocks: list[_Block]) -> list[_Block]:
    leading = 0
    while leading < len(blocks) and _is_leading_credit(blocks[leading].text):
        leading += 1
    top, book = blocks[leading : leading + _TOP_BLOCKS], blocks[leading + _TOP_BLOCKS :]
    top = [block for block in map(_title_alone, top) if not (_SURE_CREDIT.match(block.text) or _URL.search(block.text))]
    return top + book


def _is_leading_credit(text: str) -> bool:
    # Before the first words of the book, more can be recognized as a credit than after them.
    if _TITLE_LINE.match(text):
        return False
    credit = _CREDIT.match(text) or _SURE_CREDIT.match(text) or _URL.search(text) or _PROJECT.search(text)
    return bool(credit or _ORNAMENT.fullmatch(text))


def _title_alone(block: _Block) -> _Block:
    # "The Project Gutenberg Etext of The Wizard of Oz": the title page of the 1990s.
    match = _TITLE_LINE.match(block.text)
    if not match or len(block.text) > _MAX_TITLE_LINE:
        return block
    return replace(block, text=block.text[match.end() :])


def _without_notes(blocks: list[_Block]) -> list[_Block]:
    kept: list[_Block] = []
    number = 0
    while number < len(blocks):
        if match := _NOTE.match(blocks[number].text):
            heading = len(blocks[number].text) - match.end() <= _MAX_HEADING_REST
            number += 1 + _note_length(blocks[number + 1 :][: _MAX_NOTE_BLOCKS + 1], heading)
        else:
            kept.append(blocks[number])
            number += 1
    return kept


def _note_length(following: list[_Block], heading: bool) -> int:
    # The number of following blocks that belong to the note: its bullets or indented blocks or, if its heading is
    # followed by ordinary paragraphs, those up to the next wide gap. Without such a gap, only the first is dropped.
    if not heading or (following and (following[0].bullet or following[0].indented)):
        length = 0
        while length < len(following) and (following[length].bullet or (heading and following[length].indented)):
            length += 1
            if length < len(following) and following[length].gap > 1:
                break
        return length
    length = min(1, len(following))
    while length < len(following) and following[length].gap == 1:
        length += 1
    return length if length <= _MAX_NOTE_BLOCKS else 1


def _without_project(blocks: list[_Block]) -> list[_Block]:
    # No public-domain book mentions the project, so a paragraph that does was added later.
    kept = [block for block in blocks if not _PROJECT.search(block.text)]
    if len(blocks) - len(kept) > _MAX_STRAY:
        raise CorpusError(
            f"{len(blocks) - len(kept)} paragraphs inside the book contain Project Gutenberg license text",
            remedy="remove the book from the list, or delete the license from the file and use download.source: files",
        )
    return kept


def _without_markup(text: str) -> str:
    text = _SUPERSCRIPT.sub(r"\1", _FORMATTING.sub(r"\1", text))
    text = _BOLD.sub(r"\2", _ITALICS.sub("", text))
    return " ".join(text.split())
