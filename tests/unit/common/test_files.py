from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimal_llm.common.files import write_text


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_that_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "corpus.txt", "mine")
    finally:
        os.umask(before)
    assert (tmp_path / "corpus.txt").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("old", encoding="utf-8")
    path.chmod(mode)
    write_text(path, "new")
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("new", mode)
    assert list(tmp_path.iterdir()) == [path]
