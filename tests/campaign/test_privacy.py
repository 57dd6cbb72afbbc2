"""Nothing leaves the machine but requests for books; SECURITY.md names what is written outside of the repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from minimal_llm.cli.main import main
from minimal_llm.corpus.primer.documents import primer_documents
from tests.support.books import synthetic_book
from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.mirror_server import mirror
from tests.support.stages import ROOT
from tests.support.watched import Watched, can_isolate, needs_strace, watched

pytestmark = needs_strace

EVERYTHING = """
make check
make train
make status
make metrics
make plots
make compare
make share REMOTE="$HOME/../remote"
minimal-llm bench
minimal-llm generate "Once upon a time" -n 5
minimal-llm export --format onnx-int8 -o export/onnx-int8
minimal-llm generate "Once upon a time" -n 5 --model export/onnx-int8
"""
# What SECURITY.md says that is written outside of the repository, by libraries
OUTSIDE = ("~/.cache/matplotlib", "~/.config/matplotlib", "torchinductor_")


def in_clone(clone: Clone, home: Path, script: str, *, isolated: bool = False, **variables: str) -> Watched:
    kept = {name: clone.environment[name] for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "GIT_CONFIG_GLOBAL")}
    kept |= {"PYTHON": "true", "GUTENBERG_MIRRORS": clone.environment["GUTENBERG_MIRRORS"]}
    command = ("bash", "-ec", script)
    return watched(clone.folder, *command, home=home, isolated=isolated, variables=kept | variables)


def test_generating_with_an_exported_model_connects_to_nothing_and_leaves_nothing(
    trained_folder: Path, tmp_path: Path, count: Count
) -> None:
    model, exported = trained_folder / "best_model.pt", tmp_path / "onnx"
    assert main(["export", "--model", str(model), "--format", "onnx", "-o", str(exported)]) == 0
    command = (sys.executable, "-m", "minimal_llm.cli.main", "generate", "--model", str(exported), "Once", "-n", "5")
    sources = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    seen = watched(tmp_path, *command, home=tmp_path / "home", variables=sources)
    assert seen.connections == set()
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
    count("Privacy", "generating with an ONNX model, system calls recorded", "no connection, no file outside")


@pytest.mark.long
@needs_venv
def test_the_whole_pipeline_connects_to_nothing_and_writes_outside_only_what_is_documented(
    tmp_path: Path, count: Count
) -> None:
    clone, home, isolated = Clone(tmp_path / "clone"), tmp_path / "home", can_isolate()
    seen = in_clone(clone, home, EVERYTHING, isolated=isolated)
    assert "corpus: primer" in seen.printed
    assert seen.connections == set()

    own = (clone.folder, tmp_path / "remote", (ROOT / ".venv").resolve(), Path("/dev"), home / "tmp")
    made = {path.resolve() for path in seen.made if path.exists()}
    left = [path for path in made if not any(folder in (path, *path.parents) for folder in own)]
    left += home.rglob("*")
    leaves = [path for path in left if path.is_file() or not any(path.iterdir())]
    shown = {str(path).replace(str(home), "~") for path in leaves}
    unexpected = {name for name in shown if not any(place in name for place in OUTSIDE)}
    assert unexpected == set()
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert [place for place in OUTSIDE if place not in security] == []
    commands = len(EVERYTHING.split("\n")) - 2
    where = "in a network namespace of its own" if isolated else "system calls recorded"
    count(
        "Privacy", f"the whole pipeline on the primer, and every command around it, {where}", "no connection", commands
    )
    count("Privacy", "the same, all files made outside listed", "only those that SECURITY.md names", commands)


def book_of_stories(language: str) -> bytes:
    """Return a file like those of Project Gutenberg with more words than synthetic books have."""
    stories = [document for document in primer_documents(0.3, 1) if document.language == language]
    text = "\n\n".join(paragraph for document in stories for paragraph in document.paragraphs)
    return synthetic_book(language, 1).text.replace("\n*** END", f"\n{text}\n\n*** END", 1).encode()


@pytest.mark.long
@needs_venv
def test_with_books_only_the_mirrors_are_connected_to(tmp_path: Path, count: Count) -> None:
    clone = Clone(tmp_path / "clone")
    listed = yaml.safe_load((clone.folder / "params.yaml").read_text(encoding="utf-8"))["download"]["books"]
    books = {number: book_of_stories(name) for name, numbers in listed.items() for number in numbers}
    with mirror(books) as server:
        places = {"GUTENBERG_MIRRORS": server.url, "DVC_SITE_CACHE_DIR": clone.environment["DVC_SITE_CACHE_DIR"]}
        script = "dvc exp run -S download.source=gutenberg -S download.megabytes_per_language=0.1"
        seen = in_clone(clone, tmp_path / "home", script, **places)
        assert server.requests
        assert "corpus: gutenberg" in seen.printed
        assert seen.connections == {("127.0.0.1", server.server_port)}
    count(
        "Privacy", "the whole pipeline on books, system calls recorded", "connections to the mirrors and to nobody else"
    )
