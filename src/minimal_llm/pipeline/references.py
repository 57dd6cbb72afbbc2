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
def name_freed(name: str) -> Iterator[None]:
    """Set an existing experiment of this name aside during the block; restore it if the block creates no new one.

    DVC refuses a name that is in use, and its `--force` would also retrain what is up to date.
    """
    reference, commit = f"{_folder()}/{name}", finished_experiments().get(name)
    if commit:
        git("update-ref", "-d", reference)
    try:
        yield
    finally:
        if commit and name not in finished_experiments():
            git("update-ref", reference, commit)


def experiments_of(commit: str) -> str:
    """Return the folder of the references of experiments that started from a commit."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}"


def _folder() -> str:
    head = git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    return experiments_of(head) if head else ""
