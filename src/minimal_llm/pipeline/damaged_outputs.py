"""Outputs that are damaged on the disk. DVC trusts its cache: it would put a damaged file in place of a new one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from minimal_llm.common.files import md5_of_file
from minimal_llm.pipeline.preflight import LOCK

CACHE = Path(".dvc/cache/files/md5")


def drop_damaged() -> None:
    """Delete the files in DVC's cache that are not what their names say, and the outputs that dvc.lock has otherwise.

    A bit that flips on the disk changes no time stamp, so DVC does not look. Without the files, it restores an output
    from its cache, or runs the stage again. It would also replace an output that somebody has edited.
    """
    for path, md5 in dict.fromkeys(_recorded()):
        cached = CACHE / md5[:2] / md5[2:]
        if not cached.is_file():
            continue
        for file in (cached, path):
            if file.is_file() and md5_of_file(file) != md5.removesuffix(".dir"):
                file.unlink()
                print(f"Deleted {file}: not the content that {LOCK} records, so damaged or edited", file=sys.stderr)


def _recorded() -> Iterator[tuple[Path, str]]:
    """Yield the outputs in dvc.lock with their MD5, and for a folder its list in the cache and its files."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"].values()
        outs = [(Path(out["path"]), str(out["md5"])) for stage in stages for out in stage["outs"] if "md5" in out]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return  # there is no record yet, or DVC tells that it is damaged
    for path, md5 in outs:
        yield path, md5
        if md5.endswith(".dir"):
            yield from _files_of(path, md5)


def _files_of(folder: Path, md5: str) -> Iterator[tuple[Path, str]]:
    try:
        entries = json.loads((CACHE / md5[:2] / md5[2:]).read_text(encoding="utf-8"))
        yield from [(folder / str(entry["relpath"]), str(entry["md5"])) for entry in entries]
    except (OSError, ValueError, LookupError, TypeError):
        return  # the list itself is deleted, if it is damaged
