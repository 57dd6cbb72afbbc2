"""DVC experiments as git references: refs/exps/<first two digits of the commit they started from>/<other 38>/<name>."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minimal_llm.pipeline.commands import git


def finished_experiments() -> dict[str, str]:
    """Return the finished experiments that started from the last commit: the commit of each by its name."""
    folder = _folder()
    lines = git("for-each-ref", "--format=%(objectname) %(refname)", f"{folder}/").splitlines() if folder else []
    return {name.removeprefix(f"{folder}/"): commit for commit, name in map(str.split, lines)}


@contextmanager
def free_name(name: str) -> Iterator[str]:
    """Yield a name for DVC to record an experiment under, which is then renamed to `name`.

    DVC refuses a name that is in use, and its `--force` would also retrain what is up to date. An earlier experiment of
    this name stays until the new one is there, whatever ends this process.
    """
    temporary = f"{name}-new"
    _rename(temporary, name)  # recorded by a run that was killed before it came to this
    recorded_as = temporary if name in finished_experiments() else name
    try:
        yield recorded_as
    finally:
        _rename(temporary, name)


def _rename(old: str, new: str) -> None:
    """Give the experiment `old`, if there is one, the name `new`, also if that is in use."""
    if commit := finished_experiments().get(old):
        git("update-ref", f"{_folder()}/{new}", commit)
        git("update-ref", "-d", f"{_folder()}/{old}")


def experiments_of(commit: str) -> str:
    """Return the folder of the references of experiments that started from a commit."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}"


def _folder() -> str:
    head = git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    return experiments_of(head) if head else ""
