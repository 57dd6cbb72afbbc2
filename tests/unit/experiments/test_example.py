"""What `make example` would run: the parameters, the DVC command and the name of the experiment."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.common.config import flat, load_config, read_params
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.experiments import example
from minimal_llm.experiments.grid import read_recipe
from minimal_llm.pipeline.overrides import dvc_command
from tests.support.stages import ROOT

NAMES = {
    "balanced",
    "custom-corpus",
    "earlier-recipe",
    "high-quality",
    "low-memory",
    "quick-test",
    "resume",
    "storyteller",
    "sweep",
    "tiny",
}
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with params.yaml and the examples, committed, as the current folder."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "start")):
        subprocess.run([*GIT, *command], check=True)
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The DVC commands that would have been run."""
    started: list[list[str]] = []

    def note(overrides: Mapping[str, Any], resume: bool | None = None, experiment: str = "") -> int:
        started.append(dvc_command(load_config(overrides=overrides), overrides, experiment))
        return 0

    monkeypatch.setattr(example, "run_pipeline", note)
    return started


def settings(command: list[str]) -> dict[str, Any]:
    """The parameters that a `dvc exp run` sets: its quotes and lists are those of YAML, too."""
    pairs = [word.split("=", 1) for word in command if "=" in word]
    return {key: yaml.safe_load(value) for key, value in pairs}


@pytest.mark.parametrize("name", sorted(NAMES - {"resume", "sweep"}))
@pytest.mark.parametrize("overrides", [{}, {"train.epochs": 1, "tokenizer.vocab_size": 1500}], ids=["as is", "changed"])
def test_a_recipe_becomes_an_experiment_with_its_name_and_its_parameters(
    name: str, overrides: dict[str, Any], repository: Path, commands: list[list[str]]
) -> None:
    assert example.run_example(name, overrides, resume=None) == 0
    [command] = commands
    called = f"{name}-epochs-1-vocab-size-1500" if overrides else name
    assert command[:5] == ["dvc", "exp", "run", "-n", called]
    assert settings(command) == read_recipe(repository / "examples" / f"{name}.yaml") | overrides


def test_parameters_left_over_from_an_earlier_run_are_reset_and_named(
    repository: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    params = repository / "params.yaml"
    committed = flat(read_params(params))
    before = params.read_text(encoding="utf-8")
    params.write_text(before.replace("min_learning_rate_ratio: 0.1", "min_learning_rate_ratio: 0.7"), encoding="utf-8")
    example.run_example("low-memory", {}, resume=None)
    example.run_example("earlier-recipe", {}, resume=None)
    printed = capsys.readouterr().out
    assert printed.count("params.yaml: train.min_learning_rate_ratio is reset from 0.7 to the committed 0.1") == 1
    assert committed["train.min_learning_rate_ratio"] == settings(commands[0])["train.min_learning_rate_ratio"] == 0.1
    assert settings(commands[1])["train.min_learning_rate_ratio"] == 0  # its own
    assert params.read_text(encoding="utf-8") != before  # DVC writes it, when it starts


def test_a_corpus_of_ones_own_replaces_that_of_the_recipe_and_is_part_of_the_name(
    repository: Path, commands: list[list[str]]
) -> None:
    corpus = {"download.source": "files", "download.files": ["mine.txt"]}
    for text in ("One.\n", "Two.\n", "One.\n"):
        (repository / "mine.txt").write_text(text, encoding="utf-8")
        example.run_example("low-memory", corpus, resume=None)
    assert settings(commands[0])["download.files"] == ["mine.txt"]
    one, two, again = (command[4] for command in commands)
    assert re.fullmatch("low-memory-corpus-[0-9a-f]{6}", one)
    assert one == again != two


@pytest.mark.parametrize("resume", [True, False, None])
def test_whether_to_resume_reaches_the_pipeline(
    resume: bool | None, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[object] = []
    monkeypatch.setattr(example, "run_pipeline", lambda _changes, resume, _name: got.append(resume) or 7)
    assert example.run_example("balanced", {}, resume) == 7
    assert got == [resume]


def test_the_sweep_gets_the_overrides_and_the_number_of_jobs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []
    monkeypatch.setattr(example, "run_sweep", lambda *arguments: got.extend(arguments) or 7)
    assert example.run_example("sweep", {"train.epochs": 1}, None, jobs=2) == 7
    assert got == [Path("examples/sweep.yaml"), 2, {"train.epochs": 1}]


@pytest.fixture
def signals() -> Iterator[None]:
    """SIGINT, which is ignored once a script runs, as it was before."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_script_gets_the_overrides_as_variables_and_its_exit_code_is_returned(
    repository: Path, signals: None
) -> None:
    (repository / "examples" / "resume.sh").write_text("# Two epochs\nexit $((EPOCHS + 40))\n", encoding="utf-8")
    assert example.run_example("resume", {"train.epochs": 2}, resume=None) == 42
    (repository / "examples" / "resume.sh").write_text("kill -TERM $$\n", encoding="utf-8")
    assert example.run_example("resume", {}, resume=None) == 128 + signal.SIGTERM


def test_all_examples_are_listed_with_what_they_are_for(repository: Path, commands: list[list[str]]) -> None:
    listed = dict(line.split(maxsplit=1) for line in example.list_examples().splitlines() if line.startswith("  "))
    assert listed.keys() == NAMES
    assert listed["low-memory"].startswith("Train with less memory")
    with pytest.raises(ConfigurationError) as raised:
        example.run_example("low-memry", {}, resume=None)
    assert "there is no example low-memry" in raised.value.message
    assert example.list_examples() in raised.value.message
    assert commands == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"train.epochs": 0}, "train.epochs = 0: it should be at least 1 and at most 100"),
        ({"download.source": "files", "download.files": ["/nowhere.txt"]}, "/nowhere.txt"),
    ],
)
def test_an_invalid_value_is_refused_before_anything_runs(
    overrides: dict[str, Any], told: str, repository: Path, commands: list[list[str]]
) -> None:
    before = (repository / "params.yaml").read_bytes()
    with pytest.raises(MinimalLlmError) as raised:
        example.run_example("low-memory", overrides, resume=None)
    assert told in raised.value.message
    assert commands == []
    assert (repository / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- train.epochs\n", "does not map parameters to values"),
        ("train: [\n", "cannot be read"),
        ("train.epochz: 3\n", "train.epochz = 3: there is no such parameter"),
        (None, "there is no file"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_named(content: str | None, told: str, repository: Path) -> None:
    path = repository / "examples" / "mine.yaml"
    if content is None:
        with pytest.raises(ConfigurationError, match=told):
            read_recipe(path)
        return
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        example.run_example("mine", {}, resume=None)
    assert told in raised.value.message
    assert "mine.yaml" in str(raised.value)


def test_a_recipe_of_comments_alone_stands_for_the_defaults(repository: Path) -> None:
    assert read_recipe(repository / "examples" / "balanced.yaml") == {}
