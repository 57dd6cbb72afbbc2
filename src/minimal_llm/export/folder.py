"""Write a folder atomically."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import write_bytes


def write_folder(folder: Path, contents: Mapping[str, bytes], replaceable: frozenset[str]) -> None:
    """Create a folder with these files, by name. An existing folder with only `replaceable` files is replaced.

    `replaceable` has names and patterns of names.

    Raises:
        ConfigurationError: the path exists and is something else.
        OSError: the disk is full or the folder cannot be created; an existing folder is left unchanged.
    """
    folder = folder.absolute()
    _check_replaceable(folder, replaceable)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new, old = scratch / "new", scratch / "old"
        for name, content in contents.items():
            write_bytes(new / name, content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_replaceable(folder: Path, replaceable: frozenset[str]) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ConfigurationError(f"{folder} exists and is not a folder", remedy="choose another --output")
    names = [path.name for path in folder.iterdir()]
    foreign = sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in replaceable))
    if foreign:
        raise ConfigurationError(
            f"{folder} contains files that are not part of an export: {', '.join(foreign[:3])}",
            remedy="choose another --output",
        )
