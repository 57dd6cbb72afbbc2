"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import write_bytes


def write_folder(folder: Path, contents: Mapping[str, bytes], replaceable: frozenset[str]) -> None:
    """Make a folder with these files, by name. One that holds nothing but `replaceable` files is replaced.

    Raises:
        ConfigurationError: there is something else in its place.
        OSError: the disk is full or the folder cannot be made; what was there is intact.
    """
    folder = folder.absolute()
    _check_replaceable(folder, replaceable)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        made, old = aside / "new", aside / "old"
        for name, content in contents.items():
            write_bytes(made / name, content)
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_replaceable(folder: Path, replaceable: frozenset[str]) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder", remedy="give another --output")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in replaceable)
    if foreign:
        raise ConfigurationError(
            f"{folder} holds what no export wrote: {', '.join(foreign[:3])}", remedy="give an --output of its own"
        )
