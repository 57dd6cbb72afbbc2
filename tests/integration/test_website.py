"""The site: every document on it, all its links, and in a real browser no request to another host."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from scripts.figures import documents
from scripts.links import parse
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.support.browser import Page, browser, needs_browser
from tests.support.session import SharedFolders
from tests.support.stages import ROOT

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("zensical", "latex2mathml"))), reason="what builds the site is not installed: make docs"
)
PHONE = 360
SAMPLE = {
    "README.md": """<p align="center">Above the title</p>

# Sample

See [the guide](docs/TRAINING_GUIDE.md#questions), [its start](docs/TRAINING_GUIDE.md), [code](src/model.py), [a
folder](src), 4.38<!-- train.val_loss .2f -->, $\\sqrt{x_1 * x_2}$, $5 and $6.

<!-- A comment. -->

$$
\\begin{aligned} p &= \\frac{a}{b} \\end{aligned}
$$

| code | <a href="src/model.py">link</a> |
| --- | --- |
| `a` | **b** |

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="docs/dark.svg">
  <img alt="A picture" src="docs/light.svg" width="100">
</picture>

![Another](docs/light.svg)

<picture><source media="(prefers-color-scheme: dark)" srcset="docs/dark.svg"><img alt="In a line" src="docs/light.svg">
</picture>
""",
    "docs/TRAINING_GUIDE.md": """# Guide

Intro, see [2](#2-b_b--c).

## 1. A

*Not run by the tests: it takes long.*

```sh
make train  # with <angles> & more
```

```python
print(1)
```

```output
1
```

### Questions

1. What?

   <details><summary>Answer</summary>

   A list:
   - with `code`:

     ```python
     x = 1
     ```

   </details>
2. Why?
   <details><summary>Answer</summary>Because of [nothing] and <code>a</code>.</details>

## 2. `b_b` & *c*

```python src/model.py::loss
def loss(x):
    return x
```

[Back](#questions), [up](../README.md), ![dark](dark.svg).
""",
    "docs/light.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "docs/dark.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "src/model.py": "def loss(x):\n    return x\n",
}


class Read(HTMLParser):
    """The ids of a page, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        address = given.get("href", given.get("src"))
        if address is not None:
            (self.links if tag == "a" else self.loaded).append(address)


def build(folder: Path, root: Path) -> Path:
    from scripts.website import build as build_site  # imports what only `make docs` installs

    return build_site(folder, root)


@pytest.fixture(scope="session")
def site(shared_folders: SharedFolders) -> Path:
    """The site of this repository. Do not write into it."""
    return shared_folders.get("site", lambda folder: build(folder, ROOT)) / "html"


def repository(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """Make a small repository of documents."""
    for name, text in (SAMPLE | (changes or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def sample(shared_folders: SharedFolders) -> Path:
    """The site of a small repository of documents. Do not write into it."""
    return shared_folders.get("sample_site", lambda folder: build(folder, repository(folder / "repository"))) / "html"


def article(path: Path) -> str:
    """What a page shows, without its navigation."""
    found = re.search(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[0]


def test_every_link_of_the_site_leads_to_a_page_and_a_heading(site: Path) -> None:
    pages = {path: Read(path) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            found = (path.parent / target).resolve() if target else path
            if not found.is_file() or (found.suffix == ".html" and anchor and anchor not in pages[found].ids):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_the_site_has_every_document_and_the_guide_a_section_a_page(site: Path) -> None:
    titles = [re.findall(r"<h1[^>]*>(.*?)<a ", path.read_text(encoding="utf-8")) for path in site.rglob("*.html")]
    shown = {unescape(re.sub(r"<.*?>", "", found[0])) for found in titles if found}
    for path in documents(ROOT):
        tags = ("h1", "h2") if path.name == "TRAINING_GUIDE.md" else ("h1",)
        for token, following in pairwise(parse(path.read_text(encoding="utf-8"))):
            if token.type == "heading_open" and token.tag in tags:
                words = (child.content for child in following.children or () if child.type in ("text", "code_inline"))
                assert "".join(words) in shown


def test_no_page_loads_from_elsewhere_or_has_the_comments_of_the_documents(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not [link for link in Read(path).loaded if re.match(r"\w+:|//", link)], path
        if re.search("<article", path.read_text(encoding="utf-8")):
            assert "<!--" not in article(path), path


def test_a_page_shows_what_github_shows(sample: Path) -> None:
    home = article(sample / "index.html")
    assert 'href="guide/1-a.html#questions"' in home
    assert 'href="guide/index.html"' in home
    assert home.count('href="source/src/model.py.html"') == 2
    assert "a\nfolder," in home
    assert "4.38, <math" in home
    assert "<msqrt>" in home
    assert "$5 and $6" in home
    assert "<mfrac>" in home
    assert "comment" not in home
    assert 'src="docs/light.svg#only-light" width="100"><img alt="A picture" src="docs/dark.svg#only-dark"' in home
    assert 'alt="In a line" src="docs/light.svg#only-light"><img alt="In a line" src="docs/dark.svg#only-dark">' in home
    first = article(sample / "guide" / "1-a.html")
    assert '<em class="note-of-tests">Not run by the tests: it takes long.</em>' in first
    assert "&lt;angles&gt; &amp; more" in first
    assert '<span class="filename">Output</span><pre><span></span><code>1\n</code>' in first
    assert re.search(r"with <code>code</code>:(</p>)?\s*<div class=\"highlight language-python\">", first)
    assert "Because of [nothing] and <code>a</code>" in first
    assert 'href="../notebooks/1-a.ipynb" download' in first
    second = article(sample / "guide" / "2-b_b--c.html")
    assert '<a href="../source/src/model.py.html">src/model.py</a> loss</span>' in second
    assert 'href="1-a.html#questions"' in second
    assert 'href="../index.html"' in second
    assert "notebook" not in second


def test_previous_and_next_lead_through_the_guide(sample: Path) -> None:
    text = (sample / "guide" / "1-a.html").read_text(encoding="utf-8")
    found = re.findall(r'<link rel="(prev|next)" href="([^"]+)"', text)
    assert [(name, Path(link).name) for name, link in found] == [("prev", "index.html"), ("next", "2-b_b--c.html")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a](docs/NONE.md)", "README.md: docs/NONE.md leads to no file of the repository"),
        ("[a](docs/TRAINING_GUIDE.md#none)", "README.md: docs/TRAINING_GUIDE.md#none names no heading of"),
        (r"$\nothing{x}$", r"'\\nothing{x}': latex2mathml does not know \nothing"),
        (r"$\left( x$", r"'\\left( x': "),
    ],
)
def test_what_cannot_be_shown_is_an_error_that_names_it(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the kinds of error need what `make docs` installs
        build(tmp_path / "site", repository(tmp_path / "repository", {"README.md": f"# A\n\n{text}\n"}))
    assert type(caught.value).__name__ in ("WebsiteError", "MathsError")
    assert told in str(caught.value)


class Site(Page):
    """A site in a browser, opened from disk: `file` is its folder."""

    def open(self, view: str = "index.html") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{self.file.as_uri()}/{view}")

    def scheme(self) -> str:
        return str(self.driver.execute_script("return document.body.dataset.mdColorScheme"))

    def pictures(self) -> list[str]:
        """The files of the pictures that are visible."""
        found = [picture for picture in self.all("article img") if picture.is_displayed()]
        return [str(picture.get_attribute("src")).rpartition("/")[2].partition("#")[0] for picture in found]


Opens = Callable[[Path], Site]


@pytest.fixture
def open_site() -> Iterator[Opens]:
    """Opens the site in a folder in a browser."""
    with browser() as driver:
        yield partial(Site, driver)


@needs_browser
def test_no_page_asks_another_host_complains_or_is_wider_than_a_phone(site: Path, open_site: Opens) -> None:
    opened = open_site(site)
    opened.emulate(PHONE)
    pages = [page.relative_to(site) for page in site.rglob("*.html") if page.name != "404.html"]
    for page in [path for path in pages if "source" not in path.parts]:
        opened.open(str(page))
        assert opened.driver.execute_script("return document.documentElement.scrollWidth") <= PHONE, page
    assert opened.requests() == []
    assert opened.complaints() == []


@needs_browser
def test_the_search_finds_a_word_on_a_page_that_was_opened_from_disk(site: Path, open_site: Opens) -> None:
    opened = open_site(site)
    opened.open("contributing.html")
    opened.driver.find_element(By.CLASS_NAME, "md-search__button").click()
    script = """
        const roots = [...document.querySelectorAll("*")].map((element) => element.shadowRoot).filter(Boolean);
        return roots.flatMap((root) => [...root.querySelectorAll("a")].map((link) => link.href));
    """
    opened.wait(lambda: opened.driver.execute_script("return document.activeElement.shadowRoot !== null"))
    ActionChains(opened.driver).send_keys("perplexity").perform()
    opened.wait(lambda: any("/guide/" in link for link in opened.driver.execute_script(script)))
    found = opened.driver.execute_script(script)
    assert all("h=perplexity" in link and "/source/" not in link for link in found)


@needs_browser
def test_colours_and_pictures_follow_the_system_and_then_the_switch(sample: Path, open_site: Opens) -> None:
    opened = open_site(sample)
    for dark in (False, True):
        opened.emulate(dark=dark)
        opened.open()
        shown = "dark.svg" if dark else "light.svg"
        assert opened.pictures() == [shown, "light.svg", shown]
    seen = set()
    for _ in range(3):  # light, dark, and back to the system
        opened.all("form[data-md-component=palette] label:not([hidden])")[0].click()
        seen.add((opened.scheme(), opened.pictures()[0]))
    assert seen == {("default", "light.svg"), ("slate", "dark.svg")}


@needs_browser
def test_an_answer_is_folded_until_it_is_asked_for(sample: Path, open_site: Opens) -> None:
    opened = open_site(sample)
    opened.open("guide/1-a.html")
    answer = opened.all("details")[0]
    assert not answer.find_element(By.TAG_NAME, "pre").is_displayed()
    answer.find_element(By.TAG_NAME, "summary").click()
    assert answer.find_element(By.TAG_NAME, "pre").is_displayed()
