"""scripts/notebooks.py: the notebooks have the blocks that the tests run, their outputs, and the text around them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts.document_format import Parser
from scripts.notebooks import GUIDE, SET_UP, notebooks

from tests.support.stages import ROOT, clean_environment

SAMPLE = """# Guide

Before the sections.

## 1. One & two

Loss 4.38<!-- train.val_loss .2f -->, see [below](#2-code) and [the site](https://x.org):

```python
print("a")
```

```output
a
```

*Not run by the tests: too long.*

```sh
make train
```

1. In a list, [`code`](../src/x.py), <!-- a
   comment --> and:

   ```sh
   echo b
   ```

   ```text
   [kept](as.md) <!-- it is -->
   ```

![A picture](page/p.png)

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="page/d.svg">
  <img alt="Another" src="page/l.svg">
</picture>

<img src="page/p.png" width="300" alt="A third">

## No code

Text.

## 2. Code

```python
1 / 0
```

```output
ZeroDivisionError: division by zero
```
"""


def cells(notebook: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.fixture
def sample(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The notebooks of SAMPLE."""
    (tmp_path / "docs" / "page").mkdir(parents=True)
    (tmp_path / GUIDE).write_text(SAMPLE, encoding="utf-8")
    (tmp_path / "docs" / "page" / "p.png").write_bytes(b"PNG")
    (tmp_path / "docs" / "page" / "l.svg").write_text("<svg/>", encoding="utf-8")
    return notebooks(tmp_path)


def test_a_section_with_blocks_that_are_run_is_a_notebook(sample: dict[str, dict[str, Any]]) -> None:
    assert list(sample) == ["1-one--two.ipynb", "2-code.ipynb"]


def test_blocks_are_cells_with_the_output_that_the_guide_shows(sample: dict[str, dict[str, Any]]) -> None:
    set_up, python, shell = cells(sample["1-one--two.ipynb"], "code")
    assert set_up["source"] == SET_UP.rstrip("\n")
    assert python["source"] == 'print("a")'
    assert python["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "a\n"}]
    assert shell["source"] == "%%bash -euo pipefail\necho b"
    assert shell["outputs"] == []


def test_running_all_goes_on_after_an_exception_that_is_shown(sample: dict[str, dict[str, Any]]) -> None:
    tags = [cell["metadata"].get("tags") for cell in cells(sample["2-code.ipynb"], "code")]
    assert tags == [None, ["raises-exception"]]


def test_the_text_has_its_pictures_and_no_comments_or_links_to_files(sample: dict[str, dict[str, Any]]) -> None:
    introduction, start, middle, end = cells(sample["1-one--two.ipynb"], "markdown")
    assert "section of the training guide" in introduction["source"]
    assert start["source"] == "## 1. One & two\n\nLoss 4.38, see below and [the site](https://x.org):"
    assert middle["source"].startswith(
        "*Not run by the tests: too long.*\n\n```sh\nmake train\n```\n\n1. In a list, `code`, "
    )
    assert "comment" not in middle["source"]
    assert "   [kept](as.md) <!-- it is -->\n" in end["source"]
    assert end["source"].endswith(
        "![A picture](attachment:p.png)\n\n![Another](attachment:l.svg)\n\n![A third](attachment:p.png)"
    )
    assert end["attachments"] == {"p.png": {"image/png": "UE5H"}, "l.svg": {"image/svg+xml": "<svg/>"}}


def test_the_notebooks_of_the_guide_have_all_its_blocks_and_nothing_else() -> None:
    blocks = [block for block in Parser((ROOT / GUIDE).read_text(encoding="utf-8")).blocks if not block.exempt]
    sources = [cell["source"] for made in notebooks().values() for cell in cells(made, "code")]
    wanted = [
        ("%%bash -euo pipefail\n" if block.language == "sh" else "") + block.code.rstrip("\n") for block in blocks
    ]
    assert [source for source in sources if source != SET_UP.rstrip("\n")] == wanted


def test_the_command_writes_them_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        command = [sys.executable, str(ROOT / "scripts" / "notebooks.py"), "--folder", str(tmp_path / folder)]
        subprocess.run(command, env=clean_environment(), check=True, capture_output=True, timeout=120)
    written = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("a", "b")]
    assert written[0] == written[1]
    assert set(written[0]) == set(notebooks())
