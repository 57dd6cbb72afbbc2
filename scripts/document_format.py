"""The format of the documents: which code blocks are run, which output they show, and how outputs are compared."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from scripts.quotes import QUOTE

RUN = ("python", "sh")
NOT_RUN = (
    "",
    "bash",
    "shell",
    "console",
    "zsh",
    "py",
    "python3",
    "pycon",
)  # readers would take these for code that is run
RELATIVE, ABSOLUTE = 0.05, 0.02
EXEMPTION = re.compile(r"\*[Nn]ot run by the tests(?P<section>, the blocks of this section)?(?::(?P<reason>[^*]*))?")
STAND_IN = re.compile(r"\*[Rr]un by the tests with the\s+small model of `make quick`")
NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
# A number inside a word (int8, v2) is a part of that word.
SPECIAL = re.compile(rf"(?P<any>\.\.\.)|(?<![\w.])(?P<number>{NUMBER})")
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Fault:
    """A problem at a line of a document."""

    line: int
    text: str


@dataclass
class Block:
    """A runnable code block, the line of its fence, and the `output` shown after it (None if there is none)."""

    language: str
    code: str
    line: int
    section: int
    exempt: bool = False
    stand_in: bool = False  # uses the model from `make quick` instead of `make train`
    output: str | None = None
    output_lines: tuple[int, int] = (0, 0)  # between its fences, counted from 0, end exclusive


class Parser:
    """Parses a document into `blocks`, exempt ones included, and `faults` in its format."""

    def __init__(self, text: str) -> None:
        self.blocks: list[Block] = []
        self.faults: list[Fault] = []
        self._section = self._heading = self._exempt_level = 0
        self._exemption = 0  # the line of an exemption that is not followed by its block yet
        self._stand_in = False
        self._tokens = MarkdownIt("commonmark").parse(text)
        for index, token in enumerate(self._tokens):
            if token.map is None or token.type in ("inline", "bullet_list_open", "ordered_list_open", "list_item_open"):
                continue
            line = token.map[0] + 1
            if token.type == "fence":
                self._fence(index, line)
                continue
            self._end_exemption()
            self._stand_in = False
            if token.type == "heading_open":
                self._heading = int(token.tag[1])
                self._section += self._heading <= 2
                self._exempt_level *= self._heading > self._exempt_level
            elif token.type == "paragraph_open":
                self._paragraph(index, line)
            elif token.type == "code_block":
                self.faults.append(Fault(line, "indented code block: use a fence instead"))
        self._end_exemption()

    def _end_exemption(self) -> None:
        if self._exemption:
            self.faults.append(
                Fault(self._exemption, "this exemption is not directly followed by a python or sh block")
            )
        self._exemption = 0

    def _paragraph(self, index: int, line: int) -> None:
        content = self._tokens[index + 1].content
        self._stand_in = bool(STAND_IN.search(content))
        found = EXEMPTION.search(content)
        if not found:
            return
        if not (found["reason"] or "").strip():
            self.faults.append(Fault(line, "exemption without a reason"))
        if not found["section"]:
            self._exemption = line
        elif self._tokens[index - 1].type == "heading_close":
            self._exempt_level = self._heading
        else:
            self.faults.append(Fault(line, "the exemption of a section must be directly below its heading"))

    def _fence(self, index: int, line: int) -> None:
        token, previous = self._tokens[index], self._tokens[index - 1]
        language = token.info.strip()
        if language in RUN:
            exempt = bool(self._exemption or self._exempt_level)
            self.blocks.append(Block(language, token.content, line, self._section, exempt, self._stand_in))
            self._exemption = 0
            return
        self._end_exemption()
        if language == "output" and previous.type == "fence" and previous.info.strip() in RUN:
            self.blocks[-1].output = token.content
            self.blocks[-1].output_lines = (line, line + token.content.count("\n"))
        elif language == "output":
            self.faults.append(Fault(line, "`output` is not directly preceded by a python or sh block"))
        elif language in NOT_RUN:
            self.faults.append(
                Fault(line, f"a {language!r} block is not run: use python or sh for code, text for output")
            )
        elif language.partition(" ")[0] in (*RUN, *NOT_RUN) and not QUOTE.fullmatch(language):
            self.faults.append(Fault(line, f"a {language!r} block is not run: after python or sh nothing may follow"))


def tidy(text: str) -> list[str]:
    """Return the lines of an output as they appear on screen, with single spaces and outer blank lines stripped."""
    seen = (ESCAPE_SEQUENCE.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in text.split("\n"))
    lines = [
        re.sub(r"([\[({]) ", r"\1", " ".join(line.split())) for line in seen
    ]  # "[ 0.5" has the space of a missing minus sign
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def first_difference(shown: str, real: str) -> int | None:
    """Return the index of the first line of tidy(shown) that does not match the real output; None if all match."""
    wanted, lines = tidy(shown), tidy(real)
    used = {0}  # possible numbers of real lines matched so far
    for index, line in enumerate(wanted):
        if line == "...":
            used = set(range(min(used), len(lines) + 1))
        else:
            used = {count + 1 for count in used if count < len(lines) and same_line(line, lines[count])}
        if not used:
            return index
    return None if len(lines) in used else len(wanted)


def same_line(shown: str, real: str) -> bool:
    """Return whether a line matches the shown one: the same words, and numbers within the tolerance."""
    pattern, numbers = _pattern(shown)
    found = pattern.fullmatch(real)
    return bool(found) and all(
        abs(number - _value(other)) <= max(RELATIVE * abs(number), ABSOLUTE)
        for number, other in zip(numbers, found.groups() if found else (), strict=True)
    )


@functools.cache
def _pattern(line: str) -> tuple[re.Pattern[str], tuple[float, ...]]:
    """Return a pattern that matches a shown line, with a group for each number, and the numbers themselves."""
    pattern, numbers, end = "", [], 0
    for found in SPECIAL.finditer(line):
        pattern += re.escape(line[end : found.start()]) + (".*?" if found["any"] else f"({NUMBER})")
        numbers += [] if found["any"] else [_value(found["number"])]
        end = found.end()
    return re.compile(pattern + re.escape(line[end:])), tuple(numbers)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def with_outputs(text: str, outputs: list[tuple[Block, str]]) -> str:
    """Return the text of a document with new outputs."""
    lines = text.split("\n")
    for block, output in sorted(outputs, key=lambda change: -change[0].line):
        start, end = block.output_lines
        fence = lines[start - 1]
        indent = fence[: len(fence) - len(fence.lstrip())]
        lines[start:end] = [(indent + line).rstrip() for line in output.strip("\n").split("\n")]
    return "\n".join(lines)
