"""scripts/links.py finds the links and pictures of a document, and names its headings as GitHub does."""

from __future__ import annotations

import pytest
from scripts.links import anchors, links, parse


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("## 10. Deployment", "10-deployment"),
        ("## `make check` refuses, or *fails*", "make-check-refuses-or-fails"),
        ("## The loss, and its gradient p - y", "the-loss-and-its-gradient-p---y"),
        ("## What's `snake_case`?", "whats-snake_case"),
        ("## Había una vez", "había-una-vez"),
        ("## A [link](x.md) in it", "a-link-in-it"),
        ("A title\n=======", "a-title"),
    ],
)
def test_a_heading_has_the_name_that_github_gives_it(heading: str, name: str) -> None:
    assert anchors(parse(heading)) == {name}


def test_headings_with_the_same_text_are_numbered() -> None:
    assert anchors(parse("## Questions\n\n# Questions\n\n### Questions\n")) == {
        "questions",
        "questions-1",
        "questions-2",
    }


def test_a_heading_in_code_has_no_name_and_an_id_in_html_has_one() -> None:
    assert anchors(parse('```sh\n# comment\n```\n\n<a id="here"></a>\n\nText <a name="there"></a>\n')) == {
        "here",
        "there",
    }


def test_links_and_pictures_are_found_wherever_they_are_written() -> None:
    text = """[a](a.md#x), ![b](b.png) and [c][ref], <https://d.org>, not `[e](e.md)`

| <a href="f.md">f</a> |
| --- |
| [g](g.md) |

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="h.svg, i.svg 2x">
  <img src="j.svg" alt="">
</picture>

```text
[k](k.md)
```

[ref]: c.md
"""
    found = ["a.md#x", "b.png", "c.md", "https://d.org", "f.md", "g.md", "h.svg", "i.svg", "j.svg"]
    assert sorted(links(parse(text))) == sorted(found)
