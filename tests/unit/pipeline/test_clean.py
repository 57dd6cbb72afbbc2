from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest

from minimal_llm.pipeline import clean as clean_module
from minimal_llm.pipeline.clean import clean
from tests.support.stages import ROOT
from tests.support.terminal import Terminal


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """Some of what the pipeline makes, in a folder of its own; corpus_manifest.json is in git."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    names = ("data/corpus_bilingual.txt", "data/corpus_manifest.json", "data/best_model.pt", "runs/x/report.md")
    names += (".ruff_cache/x", "data/metrics/train.json")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1234", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clean_module, "git", lambda *_words: "params.yaml\0data/corpus_manifest.json\0")
    return {name: tmp_path / name for name in names}


def test_only_what_is_confirmed_is_deleted_and_never_what_is_in_git(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n\nyes\n"))
    assert clean() == 0
    asked = capsys.readouterr().out
    assert "Delete corpus, tokenizer and token files (seconds to make again), 0.0 KB? [y/N] " in asked
    assert "trained models" in asked
    assert "downloaded books" not in asked
    assert {name for name, path in made.items() if path.exists()} == {
        "data/corpus_manifest.json",
        "data/best_model.pt",
        "data/metrics/train.json",
    }


def test_without_a_terminal_everything_that_took_time_is_kept(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert clean() == 0
    assert "kept, because there is no terminal to ask on: trained models" in capsys.readouterr().out
    assert {name for name, path in made.items() if not path.exists()} == {".ruff_cache/x"}
