"""Renders the documents as GitHub does, for the site: the same parser that runs their blocks, and no script.

Zensical reads Markdown with Python-Markdown, which needs four spaces where GitHub needs two or three, so that lists
with code or folded answers in them would fall apart. It therefore gets HTML, and does the rest: pages, navigation,
search, colours.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import pygments
from latex2mathml import exceptions
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound
from scripts.links import COMMENT, HTML
from scripts.quotes import QUOTE

ADDRESS = re.compile(r'\b(?P<name>href|src|srcset)="(?P<value>[^"]*)"')
NOTE = re.compile(r"([Nn]ot r|[Rr])un by the tests")
PICTURE = re.compile(r"<picture>(?P<sources>.*?)(?P<image><img\b[^>]*>)\s*</picture>", re.DOTALL)
DARK = re.compile(
    r'<source\b[^>]*prefers-color-scheme:\s*dark[^>]*\bsrcset="(?P<file>[^"\s]+)"|'
    r'<source\b[^>]*\bsrcset="(?P<other>[^"\s]+)"[^>]*prefers-color-scheme:\s*dark'
)

INVALID = tuple(kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception))

Resolve = Callable[[str], str | None]  # the address on the site of what a document links to; None if it has none


class MathsError(Exception):
    """A formula that cannot be shown on the site."""


@functools.cache
def parser() -> MarkdownIt:
    """Return a parser of the documents that knows maths as well."""
    made = MarkdownIt("commonmark").enable("table")
    made.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    for name in ("math_inline", "math_inline_double", "math_block"):
        made.add_render_rule(name, maths)
    made.add_render_rule("fence", fence)
    return made


def render(tokens: Sequence[Token], resolve: Resolve) -> str:
    """Return the HTML of tokens of parser(), with every address replaced by that on the site."""
    made = parser()
    adapted = adapt(tokens, resolve)
    return str(made.renderer.render(adapted, made.options, {"resolve": resolve}))


def adapt(tokens: Sequence[Token], resolve: Resolve) -> list[Token]:
    """Return tokens without comments, with addresses of the site, and without links that lead nowhere on it."""
    kept: list[Token] = []
    dropped = False
    tokens = whole_pictures(tokens)
    for index, token in enumerate(tokens):
        if token.type in HTML:
            token.content = with_addresses(both_pictures(COMMENT.sub("", token.content)), resolve)
        elif token.type == "link_open":
            address = resolve(str(token.attrs["href"]))
            dropped = address is None
            if address is None:
                continue
            token.attrs["href"] = address
        elif token.type == "link_close" and dropped:
            dropped = False
            continue
        elif token.type == "image":
            token.attrs["src"] = resolve(str(token.attrs["src"])) or ""
        elif token.type == "em_open" and NOTE.match(tokens[index + 1].content):
            token.attrs["class"] = "note-of-tests"
        if token.children:
            token.children = adapt(token.children, resolve)
        kept.append(token)
    return kept


def whole_pictures(tokens: Sequence[Token]) -> list[Token]:
    """Return tokens in which a <picture> within a line is one token, as it is on lines of its own."""
    joined: list[Token] = []
    is_inside = False
    for token in tokens:
        if is_inside:
            joined[-1].content += token.content
        else:
            joined.append(token)
        if token.type == "html_inline" and token.content in ("<picture>", "</picture>"):
            is_inside = token.content == "<picture>"
    return joined


def with_addresses(text: str, resolve: Resolve) -> str:
    """Return HTML with addresses of the site, and without those that lead nowhere on it."""

    def replaced(found: re.Match[str]) -> str:
        address = resolve(found["value"])
        return "" if address is None else f'{found["name"]}="{address}"'

    return ADDRESS.sub(replaced, text)


def both_pictures(text: str) -> str:
    """Return HTML in which a picture for dark and light systems is two images, of which the theme shows one.

    A <picture> follows the system alone; these follow the switch on the page as well.
    """

    def images(found: re.Match[str]) -> str:
        dark = DARK.search(found["sources"])
        if not dark:
            return found["image"]
        source = re.compile(r'\bsrc="([^"]*)"')
        light = source.sub(r'src="\1#only-light"', found["image"])
        return light + source.sub(f'src="{dark["file"] or dark["other"]}#only-dark"', found["image"])

    return PICTURE.sub(images, text)


def maths(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    """Return maths as MathML, which browsers show without a script; raises MathsError."""
    formula = tokens[index].content.strip().replace("{aligned}", "{split}")  # the name that latex2mathml knows
    try:
        made = str(convert(formula, display="inline" if tokens[index].type == "math_inline" else "block"))
    except INVALID as error:
        raise MathsError(f"{formula!r}: {type(error).__name__}") from None
    unknown = re.search(r"\\\w+|<mi>&</mi>", made)  # it shows what it cannot read as it stands
    if unknown:
        raise MathsError(f"{formula!r}: latex2mathml does not know {unknown[0]}")
    return made


def fence(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: Any, env: Any) -> str:
    """Return a block of code, with the colours of its language and, where it has one, a title."""
    token = tokens[index]
    info = token.info.strip()
    quote = QUOTE.fullmatch(info)
    title = "Output" if info == "output" else ""
    if quote:
        path, names = html.escape(quote["path"]), html.escape(quote["names"].replace(",", ", "))
        address = env["resolve"](f"/{quote['path']}")
        title = f'<a href="{address}">{path}</a> {names}' if address else f"{path} {names}"
    return code_block(token.content, info.split(" ")[0], title)


def code_block(code: str, language: str, title: str = "") -> str:
    """Return a block of code in a language that Pygments may know, with an optional title in HTML."""
    head = f'<span class="filename">{title}</span>' if title else ""
    kind = "output" if language == "output" else f"language-{language}"
    return (
        f'<div class="highlight {kind}">{head}<pre><span></span><code>{coloured(code, language)}</code></pre></div>\n'
    )


def coloured(code: str, language: str) -> str:
    """Return code with the classes of Pygments, or as it is: output, and languages that Pygments does not know."""
    if language == "output":
        return html.escape(code, quote=False)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return html.escape(code, quote=False)
    return str(pygments.highlight(code, lexer, HtmlFormatter(nowrap=True)))
