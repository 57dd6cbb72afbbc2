"""An experiment that is run again keeps its reference until the new one is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minimal_llm.pipeline.commands import git
from minimal_llm.pipeline.references import experiments_of, finished_experiments, free_name


@pytest.fixture(autouse=True)
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two commits of a repository that is the current folder, standing for experiments on top of the second."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    for _ in range(2):
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    return git("rev-list", "HEAD").split()


def record(name: str, commit: str) -> None:
    """Record an experiment, as DVC does."""
    git("update-ref", f"{experiments_of(git('rev-parse', 'HEAD').strip())}/{name}", commit)


def test_the_first_experiment_of_a_name_gets_it_at_once(commits: list[str]) -> None:
    with free_name("idea") as name:
        assert name == "idea"
        record(name, commits[0])
    assert finished_experiments() == {"idea": commits[0]}


def test_an_earlier_experiment_is_there_until_the_new_one_replaces_it(commits: list[str]) -> None:
    record("idea", commits[0])
    with free_name("idea") as name:
        assert finished_experiments() == {"idea": commits[0]}
        record(name, commits[1])
    assert finished_experiments() == {"idea": commits[1]}


def test_a_failure_leaves_the_earlier_experiment(commits: list[str]) -> None:
    record("idea", commits[0])
    with pytest.raises(RuntimeError), free_name("idea"):
        raise RuntimeError
    assert finished_experiments() == {"idea": commits[0]}


def test_what_a_killed_process_could_not_rename_is_renamed_by_the_next(commits: list[str]) -> None:
    record("idea", commits[0])
    killed = free_name("idea")
    record(killed.__enter__(), commits[1])  # and never left
    with free_name("idea"):
        assert finished_experiments() == {"idea": commits[1]}
    assert finished_experiments() == {"idea": commits[1]}
