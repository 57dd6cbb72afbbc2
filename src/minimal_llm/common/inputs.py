"""The user's own files that the pipeline reads: linked where DVC notices edits, recorded by their contents.

DVC watches the paths in dvc.yaml, but these files are named in params.yaml. So stage `parameters` links them into a
folder that is one of its outputs: DVC hashes the files behind the links, and runs the stage again after an edit. The
stage also records their hashes, and the stages that read the files depend on these records and compare them with what
they read. So a result belongs to the recorded contents even if a file is edited during a run, when DVC, which hashes
dependencies after a stage, would record the edited one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import sha256_of_file, write_text

# A suffix that .dvcignore does not list, whatever the name of the file: DVC would not watch it
_SUFFIX = ".link"
_MAX_NAME = 50  # characters of a file's name in the name of its link


def line(sha256: str, name: str) -> str:
    """Return the line of a record that stands for a file: as sha256sum prints it, without the folder."""
    return f"{sha256}  {name}"


def record_of(files: Sequence[Path]) -> str:
    """Return the record of files in this order, which is equal for equal names and contents, wherever they lie.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    lines = []
    for file in files:
        try:
            lines.append(line(sha256_of_file(file), file.name))
        except OSError as error:
            raise ConfigurationError(
                f"{file} cannot be read: {error.strerror}", remedy=f"check it: ls -l {file}"
            ) from error
    return "\n".join(lines or ["none"]) + "\n"


def link(folder: Path, inputs: Mapping[str, Sequence[Path]]) -> None:
    """Replace the links in a folder by links to these files, which are grouped by what they are for.

    Raises:
        ConfigurationError: the file system has no symbolic links.
    """
    write_text(folder / ".gitignore", f"*{_SUFFIX}\n")  # a folder in every clone, but no paths of this machine in git
    for old in _links(folder):
        old.unlink()
    for use, files in inputs.items():
        for number, file in enumerate(files):
            target: Path | str = file
            if not file.is_absolute():  # the link leads there even after the repository has moved
                target = os.path.relpath(file.parent.resolve() / file.name, folder.resolve())
            try:
                (folder / f"{use}_{number:06}_{file.name[:_MAX_NAME]}{_SUFFIX}").symlink_to(target)
            except OSError as error:
                raise ConfigurationError(
                    f"{folder} cannot hold a link to {file}: {error.strerror}",
                    remedy="move the repository to a file system with symbolic links (FAT and exFAT have none)",
                ) from error


def linked(folder: Path, use: str) -> list[Path]:
    """Return the absolute paths of the files that are linked for a use, in the order that `link` was given."""
    return [_target(path) for path in sorted(_links(folder)) if path.name.startswith(f"{use}_")]


def drop_dangling(folder: Path) -> list[Path]:
    """Delete the links in a folder whose files are gone, at which every DVC command would stop; return these files."""
    missing = []
    for old in _links(folder):
        if not old.exists():
            missing.append(_target(old))
            old.unlink()
    return missing


def require_recorded(record: Path, read: Iterable[str]) -> None:
    """Check that what a stage has read, as `line`s, is what the record holds.

    Raises:
        ConfigurationError: a file was changed meanwhile. The record is deleted, so that DVC makes a new one.
    """
    known = record.read_text(encoding="utf-8").splitlines()
    if changed := [entry.partition("  ")[2] for entry in read if entry not in known]:
        record.unlink()
        raise ConfigurationError(
            f"{', '.join(dict.fromkeys(changed))} changed while the pipeline was running",
            remedy="run it again: make train, or dvc repro",
        )


def _target(path: Path) -> Path:
    # Path.resolve would also follow a link of the user's, which has another name
    target = path.parent / path.readlink()
    return target.parent.resolve() / target.name


def _links(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == _SUFFIX] if folder.is_dir() else []
