"""scripts/parameters.py: the guide and params.yaml say of each parameter what config.py does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scripts import parameters

from minimal_llm.common import config
from minimal_llm.common.config import flatten, load_config
from tests.support.stages import ROOT

FILES = (parameters.GUIDE, parameters.PARAMS, parameters.PIPELINE)
TOLD = parameters.descriptions(Path(config.__file__).read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with copies of the files that the script reads and writes."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_guide_and_params_yaml_say_what_config_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert parameters.main([]) == 0, capsys.readouterr().out


def test_every_parameter_has_a_description_whose_first_sentence_fits_a_line_of_params_yaml() -> None:
    assert set(TOLD) == set(flatten(load_config(ROOT / "params.yaml")))
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120


EDITS = {
    "a default": (parameters.PARAMS, "  epochs: 20 ", "  epochs: 21 "),
    "a range": (parameters.GUIDE, "| 1 to 100 | Passes", "| 1 to 200 | Passes"),
    "a description": (parameters.GUIDE, "Passes over the training text", "Rounds over the text"),
    "stages that run again": (parameters.GUIDE, "*Runs again: validate.*", "*Runs again: train.*"),
    "a comment": (parameters.PARAMS, "# Passes over the training text", "# Rounds"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_difference_is_reported_and_corrected(what: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, old, new = EDITS[what]
    edit(copy / name, old, new)
    assert parameters.main(["--root", str(copy)]) == 1
    assert "python scripts/parameters.py --write" in capsys.readouterr().out
    assert parameters.main(["--root", str(copy), "--write"]) == 0
    assert parameters.main(["--root", str(copy)]) == 0
    shown = {file: (copy / file).read_text(encoding="utf-8") for file in FILES}
    if name == parameters.GUIDE:
        assert shown[name] == (ROOT / name).read_text(encoding="utf-8")


def test_what_was_measured_is_kept(copy: Path) -> None:
    edit(copy / parameters.GUIDE, "| `model.heads` |", "| `model.heads` | an old cell |")
    before = parameters.ROW.findall((copy / parameters.GUIDE).read_text(encoding="utf-8"))
    assert parameters.main(["--root", str(copy), "--write"]) == 0
    assert parameters.ROW.findall((copy / parameters.GUIDE).read_text(encoding="utf-8")) == before


@pytest.mark.parametrize("key", ["seed", "seed model.heads", "seed model", "nothing"])
def test_a_parameter_without_a_table_or_with_two_is_an_error(
    key: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = "parameters: seed -->" if key != "seed" else "parameters: model -->"
    edit(copy / parameters.GUIDE, old, f"parameters: {key} -->")
    assert parameters.main(["--root", str(copy), "--write"]) == 1
    assert "error: " in capsys.readouterr().err


def test_a_field_without_a_text_below_it_is_an_error() -> None:
    source = Path(config.__file__).read_text(encoding="utf-8")
    text = '    """Attention heads per layer.'
    assert text in source
    start = source.index(text)
    end = source.index('"""', start + len(text)) + 3
    with pytest.raises(parameters.ParameterError, match=r"model\.heads$"):
        parameters.descriptions(source[:start] + source[end:])
