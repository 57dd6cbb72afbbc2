"""Extracts the paragraphs of a book from the text of a file, without anything that transcribers added."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.boilerplate import carries_markers, is_license_text, may_mention_project, strip_gutenberg

# "Transcriber's Note", "PREPARER’S NOTE", "NOTA DE TRANSCRIPCIÓN", "Notas del Transcriptor", also inside a box.
_NOTE_NAME = (
    r"(?:(?:transcriber|preparer)s?['’]?s?\s+(?:end\s?)?(?:notes?|corrections?)|transcription\s+notes?|"
    r"notes?\s+(?:of|by)\s+(?:the\s+)?transcribers?|"
    r"(?:notas?|n\.)\s+(?:del?|de\s+la|de\s+l[oa]s)\s+transcri\w+)\b(?:\(s\))?"
)
_NOTE = re.compile(rf"\W*{_NOTE_NAME}", re.I)
_BRACKETED_NOTE = rf"\[\s*_?(?:transcriber\b|T\.?\s?N\.?\s*:|{_NOTE_NAME})"
_BRACKETED = re.compile(rf"\[\s*_?(?:illustrations?\b|ilustraci(?:[oó]n|ones)\b)|(?P<note>{_BRACKETED_NOTE})", re.I)
_SIGNED_NOTE = re.compile(rf"{_NOTE_NAME}[\s.)_]*\]", re.I)  # [In the original: lampp (Transcriber's note.)]
_MAX_CAPTION = 3000  # characters; the longest caption seen has about 300
_MAX_NOTE = 20_000  # a list of all corrections
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
_MAX_STRAY = 5  # paragraphs added outside header and footer; a license and a book about the project have dozens

_BRACKET = re.compile(r"[\[\]]")
_SUPERSCRIPT = re.compile(r"\^\{([^{}]*)\}")
_ITALICS = re.compile(r"(?<!_)_(?!_)")  # a run of underscores is a name left blank
_BOLD = re.compile(r"(?<![\w=+])([=+])(?=[^\W_]|[¿¡“\"«'(])([^=+]{0,200}[\w.,;:!?”\"»')])\1(?![\w=+])")
_FORMATTING = re.compile(
    r"/\*\s(?:(?:NIND|RIGHT|CENTER|BLOCK)\s)?([^*/]{0,300})\s\*/"
)  # left behind by proofreading tools
_MARKUP = re.compile(r"[_^=+]|/\*")  # what has none of these needs none of the substitutions above
_ORNAMENT = re.compile(r"[\s*_=~+#•·|\-–—]*")


@dataclass(frozen=True)
class _Block:
    """The lines of a paragraph, and the number of blank lines above it."""

    lines: tuple[str, ...]
    gap: int
    text: str  # the lines joined, with whitespace collapsed
    suspect: bool  # whether it may have to do with the project

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
    return (
        carries_markers(text)
        or bool(_BRACKETED.search(text) or _SIGNED_NOTE.search(text))
        or any(map(_NOTE.match, text.split("\n")))
    )


def clean_book(text: str) -> list[str]:
    """Return the paragraphs of the book in a decoded Project Gutenberg file, from title page to footnotes.

    Header, license, footer, credits, transcribers' notes, illustrations with their captions and rows of ornaments are
    dropped, and the markup for italics and bold is removed.

    Raises:
        CorpusError: there is license text where no known file style has it.
    """
    blocks = _blocks(_without_bracketed(strip_gutenberg(text)))
    about = _is_about_project(blocks)
    blocks = _without_license(_without_notes(_without_credits(blocks, about)), about)
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
            joined = " ".join(" ".join(lines).split())
            blocks.append(_Block(tuple(lines), gap, joined, may_mention_project(joined)))
            lines, gap = [], 1
        else:
            gap += 1
    return blocks


def _without_bracketed(text: str) -> str:
    kept: list[str] = []
    position = 0
    for start, end in _bracketed(text):
        if start < position:
            continue
        kept.append(text[position:start])
        position = end
        # Drop the whole line if nothing else is on it: a blank line would split the paragraph.
        line_start = text.rfind("\n", 0, start) + 1
        line_end = text.find("\n", end)
        if line_end >= 0 and not (text[line_start:start] + text[end:line_end]).strip():
            position = line_end + 1
    kept.append(text[position:])
    return "".join(kept)


def _bracketed(text: str) -> list[tuple[int, int]]:
    # Returns where illustrations and notes begin and end, in order. A bracket that is not closed before the next of
    # them ends with its line.
    closing = _closing_brackets(text)
    matches = list(_BRACKETED.finditer(text))
    on_its_own_line = (not text[text.rfind("\n", 0, m.start()) + 1 : m.start()].strip(" \t") for m in matches)
    starts = [match.start() for match, alone in zip(matches, on_its_own_line, strict=True) if alone]
    found: list[tuple[int, int]] = []
    for match in matches:
        start = match.start()
        end = closing.get(start, len(text) + 1)
        following = bisect_right(starts, start)
        limit = min(
            start + (_MAX_NOTE if match["note"] else _MAX_CAPTION), *starts[following : following + 1], len(text)
        )
        if end > limit:
            line_end = text.find("\n", start)
            end = line_end if line_end >= 0 else len(text)
        found.append((start, end))
    for start, end in closing.items():
        if end - start <= _MAX_NOTE and any(match.end() == end for match in _SIGNED_NOTE.finditer(text, start, end)):
            found.append((start, end))
    return sorted(found)


def _closing_brackets(text: str) -> dict[int, int]:
    # Returns, for each bracket that is closed, the position after the bracket that closes it.
    closing: dict[int, int] = {}
    unclosed: list[int] = []
    for bracket in _BRACKET.finditer(text):
        if bracket[0] == "[":
            unclosed.append(bracket.start())
        elif unclosed:
            closing[unclosed.pop()] = bracket.end()
    return closing


def _is_about_project(blocks: list[_Block]) -> bool:
    # No other book mentions the project: a few paragraphs that do were added later.
    mentions = sum(_names_project(block) and not _is_license(block) for block in blocks)
    return mentions > max(2, min(_MAX_STRAY, len(blocks) / 4))


def _names_project(block: _Block) -> bool:
    return block.suspect and _PROJECT.search(block.text) is not None


def _is_license(block: _Block) -> bool:
    return block.suspect and is_license_text(block.lines)


def _without_credits(blocks: list[_Block], about_project: bool) -> list[_Block]:
    leading = 0
    while leading < len(blocks) and _is_leading_credit(blocks[leading], about_project):
        leading += 1
    top, book = blocks[leading : leading + _TOP_BLOCKS], blocks[leading + _TOP_BLOCKS :]
    if not about_project:
        top = list(map(_title_alone, top))
    return [block for block in top if not (_SURE_CREDIT.match(block.text) or _has_address(block, about_project))] + book


def _is_leading_credit(block: _Block, about_project: bool) -> bool:
    # Before the first words of the book, more can be recognized as a credit than after them.
    text = block.text
    if _TITLE_LINE.match(text):
        return False
    project = _is_license(block) if about_project else _names_project(block)
    credit = _CREDIT.match(text) or _SURE_CREDIT.match(text) or _has_address(block, about_project) or project
    return bool(credit or _ORNAMENT.fullmatch(text))


def _has_address(block: _Block, about_project: bool) -> bool:
    return not about_project and _URL.search(block.text) is not None


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


def _without_license(blocks: list[_Block], about_project: bool) -> list[_Block]:
    book = [block for block in blocks if not _is_license(block)]
    if len(blocks) - len(book) > _MAX_STRAY:
        raise CorpusError(
            f"{len(blocks) - len(book)} paragraphs inside the book contain Project Gutenberg license text",
            remedy="remove the book from the list, or delete the license from the file and use download.source: files",
        )
    return [block for block in book if about_project or not _names_project(block)]


def _without_markup(text: str) -> str:
    if not _MARKUP.search(text):
        return text
    text = _SUPERSCRIPT.sub(r"\1", _FORMATTING.sub(r"\1", text))
    text = _BOLD.sub(r"\2", _ITALICS.sub("", text))
    return " ".join(text.split())
