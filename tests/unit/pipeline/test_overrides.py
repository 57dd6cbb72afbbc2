from __future__ import annotations

from pathlib import Path

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError, CorpusError
from minimal_llm.pipeline.overrides import OPTIONS, dvc_command, overrides_from
from tests.support.stages import ROOT


def test_options_that_are_given_set_their_parameters_and_nothing_else_is_set() -> None:
    absent = dict.fromkeys((*OPTIONS, "corpus_path"))
    assert overrides_from(absent | {"epochs": "5", "vocab_size": "4000", "jobs": 2}) == {
        "train.epochs": "5",
        "tokenizer.vocab_size": "4000",
    }
    assert overrides_from({}) == overrides_from(absent) == {}


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    """Two text files with awkward names."""
    paths = [tmp_path / "my 'own', text; [1] $(x).txt", tmp_path / "b b.txt"]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    return [str(path) for path in paths]


def test_a_corpus_path_is_a_file_a_pattern_or_several_with_shell_quoting(texts: list[str], tmp_path: Path) -> None:
    pattern = str(tmp_path / "*.txt")
    for paths, files in (
        ([texts[0]], [texts[0]]),
        (texts, texts),
        ([pattern], texts[::-1]),  # named one by one, so that a new match is a change of the parameter
        ([f"'{texts[1]}' {pattern}"], texts[::-1]),
        ([texts[1].replace(" ", "\\ ")], [texts[1]]),
    ):
        overrides = overrides_from({"corpus_path": paths})
        assert (overrides["download.source"], overrides["download.files"]) == ("files", files)


def test_a_pattern_stays_one_if_its_files_would_not_fit_a_command_line(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}{'x' * 240}").touch()
    pattern = str(tmp_path / "*")
    assert overrides_from({"corpus_path": [pattern]})["download.files"] == [pattern]


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        ("/nowhere/x.txt", CorpusError, "/nowhere/x.txt does not exist"),
        ("it's.txt", ConfigurationError, "the corpus path it's.txt cannot be read: No closing quotation"),
        ("", CorpusError, "no text file given"),
        ("x" * 5000, CorpusError, "is not a valid path"),
    ],
)
def test_a_corpus_path_that_cannot_be_used_is_refused_by_name(path: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        overrides_from({"corpus_path": [path]})


def test_dvc_is_given_the_checked_values_in_the_grammar_that_it_reads(texts: list[str]) -> None:
    overrides = overrides_from({"learning_rate": "1e-4", "corpus_path": texts[:1]})
    config = load_config(ROOT / "params.yaml", overrides)
    command = dvc_command(config, overrides, "mine")
    assert command[:6] == ["dvc", "exp", "run", "-n", "mine", "-S"]
    assert "train.learning_rate=0.0001" in command
    escaped = texts[0].replace("'", "\\'")
    assert f"download.files=['{escaped}']" in command
    assert dvc_command(config, {}) == ["dvc", "repro"]
