"""scripts/setup_venv.py: which environment is kept, which is created again, and which is refused."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from scripts import setup_venv

from tests.support.stages import ROOT, clean_environment, copy_folder

SetUp = Callable[..., int]


@pytest.fixture
def set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """The set-up of a repository in a temporary folder; nothing is installed."""
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(setup_venv, "ROOT", tmp_path)
    monkeypatch.setattr(setup_venv, "pip", lambda *_: None)
    monkeypatch.setattr(setup_venv, "install_torch", lambda *_: None)
    create = venv.create
    monkeypatch.setattr(venv, "create", lambda folder, with_pip: create(folder, with_pip=not with_pip))
    return partial(setup_venv.set_up, "runtime")


@pytest.fixture
def old(set_up: SetUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A file in an environment that was set up: gone if it is created again."""
    assert set_up() == 0
    assert capsys.readouterr().out == "Setting up .venv, once; this takes some minutes.\n"
    (tmp_path / ".venv" / "old").touch()
    return tmp_path / ".venv" / "old"


def test_an_environment_that_is_up_to_date_is_left_alone(
    set_up: SetUp, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (set_up(), set_up(this_python=True), old.exists()) == (0, 0, True)
    assert capsys.readouterr().out == ""


def test_an_environment_with_another_python_than_the_one_that_is_asked_for_is_created_again(
    set_up: SetUp, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert (set_up(), old.exists()) == (0, True)  # make, after make setup PYTHON=...
    assert (set_up(this_python=True), old.exists()) == (0, False)
    told = capsys.readouterr().out
    assert re.search(r"Creating \.venv again: it has Python \S+ of \S+, not 3\.99\.0 of ", told), told


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("gone", r"its Python \S+ in \S+ is gone"),
        ("replaced", rf"it was made with Python 3\.9\.1, but its interpreter is now {platform.python_version()}"),
        ("half made", "it is not an environment"),
    ],
)
def test_an_environment_whose_python_is_gone_or_another_one_is_created_again(
    set_up: SetUp, old: Path, damage: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration, python = old.parent / "pyvenv.cfg", old.parent / "bin" / "python"
    if damage == "gone":
        python.unlink()
        python.symlink_to("/nowhere/python3.11")
    elif damage == "half made":
        configuration.unlink()
    else:
        text = configuration.read_text(encoding="utf-8")
        configuration.write_text(re.sub("version = .*", "version = 3.9.1", text), encoding="utf-8")
    assert (set_up(), old.exists()) == (0, False)
    assert re.match(f"Creating \\.venv again: {told}\\.\n", capsys.readouterr().out)
    assert set_up() == 0
    assert capsys.readouterr().out == ""


def test_a_python_that_is_too_old_will_do_where_nothing_has_to_be_created(
    set_up: SetUp, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup_venv, "OLDEST_PYTHON", (99, 0))
    assert set_up() == 0
    (old.parent / "pyvenv.cfg").unlink()
    assert (set_up(), old.exists()) == (1, True)
    assert "is too old, 3.11 or newer is needed\n  What to do: install it" in capsys.readouterr().err


def test_an_environment_that_is_a_link_is_refused_and_nothing_installed_into_it(tmp_path: Path) -> None:
    folder, other = copy_folder(ROOT / "scripts", tmp_path / "scripts").parent, tmp_path / "other"
    other.mkdir()
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (folder / ".venv").symlink_to(other)
    environment = {name: value for name, value in clean_environment().items() if name != "PYTHON"}
    for given in ([], [f"PYTHON={sys.executable}"]):
        done = subprocess.run(
            ["make", "setup", *given],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert f"error: .venv is a link to {other}: " in done.stderr
        assert "What to do: rm .venv, then: make setup\n" in done.stderr
    assert not any(other.iterdir())
