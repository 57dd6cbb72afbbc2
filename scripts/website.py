"""Build the site: the documents as pages, the guide a section a page, with search, and no request to another host.

    python scripts/website.py [--folder runs/site] [--demo PAGE.html] [--url URL]

The result is FOLDER/html; index.html opens from disk as well. What Zensical builds it from is FOLDER/source: the
documents, rendered by scripts/markdown_html.py, the notebooks of the guide, and each file of the repository that a
document links to as a page of text, because a reader of the site need not have a clone. A link to a folder becomes
plain text. --demo names the page of a model (`minimal-llm export --format html`), which the navigation then offers.
--url is the address of the published site, from which its page for missing addresses finds the others.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib
from markdown_it.token import Token
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python scripts/website.py`
from scripts import notebooks  # noqa: E402
from scripts.figures import documents  # noqa: E402
from scripts.links import given_names, listed, plain, slug  # noqa: E402
from scripts.markdown_html import MathsError, code_block, parser, render  # noqa: E402

DESIGN = ROOT / "docs" / "site"
GUIDE = notebooks.GUIDE
HOME = "README.md"
GROUPS = {  # the navigation; documents that are not named here follow in the last group
    "Guide": (GUIDE, "docs/GLOSSARY.md"),
    "Use": (
        *("docs/USAGE.md", "docs/EXPERIMENTS.md", "examples/README.md"),
        *("docs/PAGE.md", "docs/DEVICE.md", "docs/SHARING.md"),
    ),
    "Background": ("docs/RECIPE.md", "docs/SCALING.md", "docs/PRIMER.md", "docs/RELIABILITY.md", "docs/SAFETY.md"),
}
MATHS_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"
PICTURES = (".png", ".svg", ".jpg", ".gif", ".webp")


class WebsiteError(Exception):
    """A link of a document that leads nowhere."""


@dataclass
class Page:
    """A page of the site: its file below source/, the document that it shows, the tokens of its text."""

    file: str
    document: str
    title: str
    shift: int = 0  # by how many levels its headings rise
    tokens: list[Token] = field(default_factory=list)

    @property
    def address(self) -> str:
        return posixpath.splitext(self.file)[0] + ".html"


class Site:
    """The pages of a repository, and where on the site each link of a document leads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages: list[Page] = []
        self.copied: set[str] = set()  # pictures
        self.shown: set[str] = set()  # files that have a page of text
        self._anchors: dict[tuple[str, str], Page] = {}  # by document and anchor; "" is its first page
        self._listed = listed(root)
        for path in documents(root):
            self._add(path.relative_to(root).as_posix())

    def _add(self, document: str) -> None:
        """Add the pages of a document: one, or one for each section of the guide."""
        tokens = parser().parse((self.root / document).read_text(encoding="utf-8"))
        headings = [tokens[index + 1] for index, token in enumerate(tokens) if token.type == "heading_open"]
        self.pages.append(Page(file_of(document), document, plain(headings[0]) if headings else document))
        self._anchors[document, ""] = self.pages[-1]
        used: list[str] = []
        for index, token in enumerate(tokens):
            names: list[str] = []
            if token.type == "heading_open":
                used.append(slug(tokens[index + 1], used))
                if document == GUIDE and token.tag == "h2":
                    self.pages.append(Page(f"guide/{used[-1]}.md", document, plain(tokens[index + 1]), shift=1))
                token.meta["anchor"] = used[-1]
                names = used[-1:]
            for inner in (token, *(token.children or ())):
                names += given_names(inner)
            self._anchors |= {(document, name): self.pages[-1] for name in names}
            self.pages[-1].tokens.append(token)

    def pages_of(self, document: str) -> list[Page]:
        """Return the pages of a document, in order."""
        return [page for page in self.pages if page.document == document]

    def address(self, page: Page, link: str) -> str | None:
        """Return the address on the site of what a page links to, relative to it; None for a folder."""
        target, mark, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            return link
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(page.document), target))[1:]
        if not target:
            path = page.document
        if (self.root / path).is_dir():
            path = posixpath.join(path, "README.md")
            if (path, "") not in self._anchors:
                return None
        if (path, "") in self._anchors:
            if (path, anchor) not in self._anchors:
                raise WebsiteError(f"{page.document}: {link} names no heading of {path}")
            found = self._anchors[path, anchor].address
        elif self.root / path not in self._listed:
            raise WebsiteError(f"{page.document}: {link} leads to no file of the repository")
        elif path.endswith(PICTURES):
            self.copied.add(path)
            found = path
        else:
            self.shown.add(path)
            found = f"{text_page(path)}.html"
        return posixpath.relpath(found, posixpath.dirname(page.address) or ".") + mark + anchor

    def markdown(self, page: Page, lead: str = "") -> str:
        """Return a page as Zensical reads it: headings in Markdown, what is between them in HTML."""
        parts: list[str] = []
        waiting: list[Token] = []

        def flush() -> None:
            text = render(waiting, partial(self.address, page)).strip()
            parts.extend([f"<div>\n{text}\n</div>"] if text else [])
            waiting.clear()

        tokens = iter(page.tokens)
        for token in tokens:
            if token.type != "heading_open":
                waiting.append(token)
                continue
            flush()
            heading = next(tokens)
            next(tokens)  # its end
            level = "#" * (int(token.tag[1]) - page.shift)
            parts.append(f"{level} {marked(heading)} {{#{token.meta['anchor']}}}")
            parts.extend([lead] if lead else [])
            lead = ""
        flush()
        return "\n\n".join(parts) + "\n"

    def source_page(self, path: str) -> str:
        """Return the page of a file of the repository, which the search leaves out."""
        try:
            language = get_lexer_for_filename(path).aliases[0]
        except ClassNotFound:
            language = "text"
        code = code_block((self.root / path).read_text(encoding="utf-8"), language)
        return f"---\nhide:\n  - toc\nsearch:\n  exclude: true\n---\n\n# `{path}`\n\n<div>\n{code}</div>\n"

    def navigation(self, demo: bool) -> list[Any]:
        """Return the navigation in the form of Zensical's configuration."""
        named = {HOME, *(name for group in GROUPS.values() for name in group)}
        others = [name for name in dict.fromkeys(page.document for page in self.pages) if name not in named]
        nav: list[Any] = [{"Home": "index.md"}, *([{"Live demo": "demo.html"}] if demo else [])]
        for title, group in (*GROUPS.items(), ("Project", others)):
            pages = [page for name in group for page in self.pages_of(name)]
            nav.append(
                {title: [page.file if page.file == "guide/index.md" else {page.title: page.file} for page in pages]}
            )
        return nav


def file_of(document: str) -> str:
    """Return the file of the first page of a document."""
    if document in (HOME, GUIDE):
        return "index.md" if document == HOME else "guide/index.md"
    folder, name = posixpath.split(document)
    return f"{folder}.md" if name == "README.md" else name.lower()


def text_page(path: str) -> str:
    """Return the file of the page of a file of the repository, without .md; Zensical passes over dot files."""
    return posixpath.join("source", re.sub(r"(^|/)\.", r"\1", path))


def marked(heading: Token) -> str:
    """Return a heading in Markdown, its text and code alone."""

    def parts() -> Iterator[str]:
        for child in heading.children or ():
            if child.type == "text":
                yield re.sub(r"([\\`*_{}\[\]<>])", r"\\\1", child.content)
            elif child.type == "code_inline":
                yield f"`{child.content}`"

    return "".join(parts())


def write_source(folder: Path, root: Path, demo: Path | None, url: str | None) -> None:
    """Write into a folder what Zensical needs to build the site of a repository."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    site = Site(root)
    made = notebooks.write(source / "notebooks", root)
    for page in site.pages:
        notebook = f"{posixpath.basename(page.file).removesuffix('.md')}.ipynb"
        lead = ""
        if page.document == GUIDE and notebook in made:
            lead = f'<p class="notebook"><a href="../notebooks/{notebook}" download>This section as a notebook</a></p>'
        put(source / page.file, site.markdown(page, lead))
    for path in sorted(site.shown):
        put(source / f"{text_page(path)}.md", site.source_page(path))
    for path in sorted(site.copied):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, source / path)
    for file in DESIGN.iterdir():
        if file.suffix != ".toml":
            shutil.copy(file, source)
    shutil.copy(MATHS_FONT, source / "maths.ttf")
    if demo:
        shutil.copy(demo, source / "demo.html")
    # JSON, but with = between keys and values, is an inline table of TOML
    nav = json.dumps(site.navigation(bool(demo)), ensure_ascii=False, separators=(", ", " = "))
    address = f"site_url = {json.dumps(url)}\n" if url else ""
    config = (DESIGN / "zensical.toml").read_text(encoding="utf-8")
    put(folder / "zensical.toml", config.replace("[project]\n", f"[project]\nnav = {nav}\n{address}", 1))


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def build(folder: Path, root: Path = ROOT, demo: Path | None = None, url: str | None = None) -> Path:
    """Build the site of a repository in a folder; return that of its pages."""
    write_source(folder, root, demo, url)
    shutil.rmtree(folder / "html", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(folder / "zensical.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WebsiteError(f"zensical failed:\n{done.stdout}{done.stderr}")
    return folder / "html"


def main() -> int:
    """Run the command line; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=ROOT / "runs" / "site", help="(default: %(default)s)")
    options.add_argument("--demo", type=Path, help="the page of a model to publish with the site")
    options.add_argument("--url", help="where the site will be published")
    chosen = options.parse_args()
    try:
        html = build(chosen.folder.resolve(), demo=chosen.demo, url=chosen.url)
    except (WebsiteError, MathsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The site: {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
