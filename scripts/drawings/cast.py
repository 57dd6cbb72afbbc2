"""A terminal cast: the recorded output of a command, played again by an SVG without a script.

The log has a line for each line of output: the seconds since the start, a tab, the text. Waiting is cut short, and the
clock in the title shows the time that the run really took. Everything is in one column of text, which moves by the
keyframes of CSS. Where animations are off or not known, the last frame stands still.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from scripts.drawings.svg import Drawing, Theme, number

from minimal_llm.common.files import write_text

COLUMNS, ROWS = 68, 22
SIZE, ROW, CELL = 14, 19.5, 8.43  # font size, height of a row, the widest usual width of a character
SIDE, BAR = 13, 36  # the margins, and the height of the title bar
WIDTH, HEIGHT = COLUMNS * CELL + 2 * SIDE, BAR + ROWS * ROW + 16
EPOCH = re.compile(r"epoch +(\d+)/(\d+) ")
SAMPLE = re.compile(r"    (en|es)  ")
STYLES = re.compile(
    r"(?P<good>^  ok |\*|[Aa]ll (\d+ )?checks passed)|(?P<strong>^\$.*|^epoch +\d+/\d+|^Running stage.*)"
    r"|(?P<loss>val \d+\.\d+)|(?P<en>^    en )|(?P<es>^    es )"
    r"|(?P<dim>^  e[ns] .*|^ {13,}.*|  lr .*| +[\d,]+ tokens/s.*\d s$)"
)
LEFT_OUT = re.compile(  # what DVC says about itself
    r"> python|Updating lock file|To track the changes|\tgit add|To enable auto staging|\tdvc config|Use `dvc push`"
)
TYPING, LINE, EPOCH_GAP = 1.2, 0.07, 0.25  # seconds until the command is typed, before a line, before an epoch
HOLD = {"first": 3.2, "last": 2.6, "end": 3.8}  # seconds that the first and the last epoch stand still, and the end


@dataclass(frozen=True)
class Frame:
    """When it is shown, in seconds, how many rows there are then, and the time in the title."""

    start: float
    rows: int
    clock: str


def record(command: str, log: Path) -> int:
    """Run a command, pass its output through, write it with its times into `log`; return the exit code.

    Of a command that fails, nothing is written. Paths in this folder become relative ones.
    """
    lines, started = [f"0.0\t$ {command}"], time.monotonic()
    with subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            text = line.rstrip().replace(f"{Path.cwd()}/", "")
            lines.append(f"{time.monotonic() - started:.1f}\t{text}")
    if process.returncode == 0:
        write_text(log, "\n".join(lines) + "\n")
    return process.returncode


def read_log(log: Path) -> list[tuple[float, str]]:
    """Return the seconds and the text of each line."""
    lines = (line.partition("\t") for line in log.read_text(encoding="utf-8").splitlines())
    return [(float(seconds), text) for seconds, _, text in lines]


def draw(theme: Theme, log: Sequence[tuple[float, str]]) -> str:
    """Return the cast as SVG."""
    log = _shown(log)
    rows: list[str] = []
    frames: list[Frame] = []
    now = TYPING
    for index, (seconds, text) in enumerate(log):
        rows += _wrapped(text)
        now += _pause(text) if index else 0
        frames.append(Frame(now if index else 0, len(rows), f"{seconds // 60:.0f}:{seconds % 60:02.0f}"))
        following = log[index + 1][1] if index + 1 < len(log) else ""
        now += _hold(log, index) if SAMPLE.match(text) and not SAMPLE.match(following) else 0
    rows.append("$")
    frames.append(Frame(now + 0.5, len(rows), frames[-1].clock))
    return _svg(theme, rows, frames, now + 0.5 + HOLD["end"])


def _shown(log: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the lines without those that are left out, and of several empty ones the first."""
    lines: list[tuple[float, str]] = []
    for seconds, text in log:
        if not LEFT_OUT.match(text) and (text or (lines and lines[-1][1])):
            lines.append((seconds, text))
    return lines


def _wrapped(text: str) -> list[str]:
    """Return the rows of a line: unlike a terminal, broken at words, and indented below its text."""
    indent = re.match(r" *(?:e[ns] +(?:\d+  )?|ok +\w+ +)?", text)
    below = " " * min(20, len(indent[0]) if indent else 0)
    return textwrap.wrap(text, COLUMNS, subsequent_indent=below or "    ", tabsize=1) or [""]


def _pause(text: str) -> float:
    return 0 if SAMPLE.match(text) else EPOCH_GAP if EPOCH.match(text) else LINE


def _hold(log: Sequence[tuple[float, str]], index: int) -> float:
    """Return how long the samples that end here stand still: long, if they are those of the first or the last epoch."""
    found = [match for _, text in log[: index + 1] if (match := EPOCH.match(text))]
    if not found:
        return 0
    epoch, last = map(int, found[-1].groups())
    return HOLD["first"] if epoch == 1 else HOLD["last"] if epoch == last else 0


def _svg(theme: Theme, rows: Sequence[str], frames: Sequence[Frame], seconds: float) -> str:
    clocks = list(dict.fromkeys(frame.clock for frame in frames))
    command = rows[0]
    style = _style(theme, frames, clocks, len(command) - 2, seconds)
    picture = Drawing(
        theme, WIDTH, HEIGHT, f"{command[2:]}, in a terminal", _described(rows), f"text{{white-space:pre}}{style}"
    )
    picture.box(0.5, 0.5, WIDTH - 1, HEIGHT - 1, theme.panel, theme.line, 10)
    inside = f'<clipPath id="{{}}"><rect x="0" y="{{}}" width="{number(WIDTH)}" height="{{}}"/></clipPath>'
    picture.raw(inside.format("screen", BAR + 4, number(ROWS * ROW)) + inside.format("bar", 8, 22))
    for place, color in enumerate((theme.orange, theme.muted, theme.green)):
        picture.dot(20 + 18 * place, BAR / 2 + 1, 5, color)
    picture.text(WIDTH / 2, BAR / 2 + 6, "minimal-llm", SIZE, theme.muted, "middle", family="mono")
    picture.path(f"M1 {BAR}H{number(WIDTH - 1)}", theme.line, 1)
    picture.raw('<g clip-path="url(#bar)"><g class="clock">')
    for place, clock in enumerate(clocks):
        picture.text(WIDTH - SIDE, BAR / 2 + 6 + place * BAR, clock, SIZE, theme.muted, "end", family="mono")
    picture.raw('</g></g><g clip-path="url(#screen)"><g class="screen mono">')
    for place, row in enumerate(rows):
        y = BAR + 4 + (place + 0.75) * ROW
        picture.raw(f'<text x="{SIDE}" y="{number(y)}" font-size="{SIZE}">{_coloured(row)}</text>')
    cover = f'<rect class="{{}}" x="{{}}" y="{number(BAR + 4)}" width="{number(WIDTH)}" height="{{}}" '
    cover += f'fill="{theme.panel}"/>'
    picture.raw(cover.format("typed", number(SIDE + 2 * CELL), number(ROW)))
    picture.raw(cover.format("below", 0, number(ROWS * ROW + 20)))
    picture.raw("</g></g>")
    picture.box(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "none", theme.line, 10)
    return picture.svg()


def _style(theme: Theme, frames: Sequence[Frame], clocks: Sequence[str], letters: int, seconds: float) -> str:
    """Return the style sheet: colours, and what moves when."""
    at = [f"{100 * frame.start / seconds:.2f}%" for frame in frames]
    places: dict[str, list[tuple[float, float]]] = {
        "screen": [(0, -max(0, frame.rows - ROWS) * ROW) for frame in frames],
        "below": [(0, frame.rows * ROW) for frame in frames],
        "clock": [(0, -clocks.index(frame.clock) * BAR) for frame in frames],
    }
    rules = [
        f".good{{fill:{theme.green};font-weight:700}}.strong{{font-weight:700}}.loss{{fill:{theme.orange};font-weight:700}}"
        f".en{{fill:{theme.blue}}}.es{{fill:{theme.purple}}}.dim{{fill:{theme.muted}}}"
    ]
    for name, moves in places.items():
        steps = "".join(f"{when}{{transform:{_move(*move)}}}" for when, move in zip(at, moves, strict=True))
        rules.append(f"@keyframes {name}{{{steps}}}")
        rules.append(f".{name}{{transform:{_move(*moves[-1])};animation:{name} {seconds:.1f}s step-end infinite}}")
    begun, ended = (f"{100 * when / seconds:.2f}%" for when in (0.3, TYPING - 0.2))
    rules.append(
        f"@keyframes typed{{0%,{begun}{{transform:none;animation-timing-function:steps({letters})}}"
        f"{ended},100%{{transform:{_move(letters * CELL, 0)}}}}}"
        f".typed{{transform:{_move(WIDTH, 0)};animation:typed {seconds:.1f}s infinite}}"
        "@media(prefers-reduced-motion:reduce){*{animation:none!important}}"
    )
    return "".join(rules)


def _move(x: float, y: float) -> str:
    return f"translate({number(x)}px,{number(y)}px)"


def _coloured(row: str) -> str:
    spans, end = "", 0
    for found in STYLES.finditer(row):
        spans += escape(row[end : found.start()], quote=False)
        spans += f'<tspan class="{found.lastgroup}">{escape(found[0], quote=False)}</tspan>'
        end = found.end()
    return spans + escape(row[end:], quote=False)


def _described(rows: Sequence[str]) -> str:
    epochs = [row for row in rows if EPOCH.match(row)]
    return f"A recorded run. First: {epochs[0]}. Last: {epochs[-1]}. {rows[-2]}"
