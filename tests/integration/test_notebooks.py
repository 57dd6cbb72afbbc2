"""Notebooks of the guide, run by Jupyter as a reader runs them: their cells print what the guide shows."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from scripts.document_format import first_difference
from scripts.documents import LIMIT_SECONDS, clean_environment, clone
from scripts.notebooks import GUIDE, notebooks

pytestmark = pytest.mark.skipif(not find_spec("nbclient"), reason="what runs notebooks is not installed: make docs")
SECTIONS = ("2-", "4-")  # their blocks take seconds
SAMPLE = """# Guide

## 1. Sample

```python
import sys
print(open("dvc.yaml").read().strip())
1 / 0
```

```output
stages: {}
ZeroDivisionError: division by zero
```

```sh
echo $0; which python | grep -c "$(dirname "$(realpath -s "$PYTHON_OF_TEST")")"
false | cat || echo "a pipe fails"
```

```output
bash
1
a pipe fails
```
"""


def printed(cell: dict[str, Any]) -> str:
    """What a cell printed, and the exception that it ended with."""
    texts = [output.get("text") or f"{output['ename']}: {output['evalue']}" for output in cell["outputs"]]
    return "".join(texts)


def run(made: dict[str, Any], folder: Path, environment: dict[str, str]) -> None:
    """Run a notebook in a folder, all cells as a reader does, and compare what they print with what they showed."""
    import nbclient
    import nbformat

    notebook = nbformat.reads(json.dumps(made), as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(notebook, timeout=LIMIT_SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    cells = [(shown, real) for shown, real in zip(made["cells"], notebook.cells, strict=True) if shown.get("outputs")]
    assert len(cells) >= 2
    for shown, real in cells:
        assert first_difference(printed(shown), printed(real)) is None, (shown["source"], printed(real))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_cells_of_a_section_print_what_the_guide_shows(section: str, quick: Path, tmp_path: Path) -> None:
    folder = clone(tmp_path / "minimal-llm", quick)
    (made,) = (content for name, content in notebooks(folder).items() if name.startswith(section))
    run(made, folder, clean_environment(folder))


def test_cells_run_in_the_root_of_the_repository_with_its_environment_and_as_the_documents_do(tmp_path: Path) -> None:
    for name, text in ((GUIDE, SAMPLE), ("dvc.yaml", "stages: {}\n"), ("runs/notebooks/x.ipynb", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    environment = clean_environment(tmp_path) | {"PATH": "/usr/bin:/bin", "PYTHON_OF_TEST": sys.executable}
    run(notebooks(tmp_path)["1-sample.ipynb"], tmp_path / "runs" / "notebooks", environment)
