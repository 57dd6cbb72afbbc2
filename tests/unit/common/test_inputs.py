from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import sha256_of
from minimal_llm.common.inputs import drop_dangling, line, link, linked, record_of, require_recorded


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files with names that .dvcignore and file systems are particular about, not in alphabetical order."""
    paths = [tmp_path / name for name in ("z.txt", ".#draft", "notes~", "x" * 250, "a.txt")]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    return paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where links go, as the pipeline names it."""
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    return Path("data/inputs/links")


def test_links_lead_to_the_files_in_their_order_by_use_and_replace_earlier_ones(
    files: list[Path], folder: Path
) -> None:
    link(folder, {"file": files[::-1], "model": [files[0]]})
    link(folder, {"file": files, "model": files[1:2]})
    assert linked(folder, "file") == files
    assert linked(folder, "model") == files[1:2]
    assert all(path.suffix == ".link" for path in folder.iterdir() if path.name != ".gitignore")
    link(folder, {})
    assert [path.name for path in folder.iterdir()] == [".gitignore"]
    assert [path.read_text(encoding="utf-8") for path in files] == [path.name for path in files]


def test_a_file_of_the_repository_is_found_after_the_repository_has_moved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own").mkdir()
    Path("own/text.txt").write_text("Here.", encoding="utf-8")
    Path("own/alias.txt").symlink_to("text.txt")  # the name of the file is the user's, wherever that leads
    link(folder, {"file": [Path("own/text.txt"), Path("own/alias.txt")]})
    shutil.move(tmp_path / "repository", tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    moved = tmp_path / "moved" / "own"
    assert linked(folder, "file") == [moved / "text.txt", moved / "alias.txt"]
    assert drop_dangling(folder) == []


def test_links_to_files_that_are_gone_are_dropped_and_the_files_named(files: list[Path], folder: Path) -> None:
    link(folder, {"file": files})
    files[1].unlink()
    assert drop_dangling(folder) == [files[1]]
    assert linked(folder, "file") == [files[0], *files[2:]]
    assert drop_dangling(Path("nowhere")) == []


def test_a_record_depends_on_names_contents_and_order_but_not_on_the_folder(files: list[Path], tmp_path: Path) -> None:
    known = record_of(files)
    (tmp_path / "elsewhere").mkdir()
    assert known == record_of([Path(shutil.copy(path, tmp_path / "elsewhere")) for path in files])
    assert known != record_of(files[::-1])
    files[0].write_text("other", encoding="utf-8")
    assert known != record_of(files)
    assert record_of([]) == "none\n"
    with pytest.raises(ConfigurationError, match=r"gone\.txt cannot be read: No such file"):
        record_of([tmp_path / "gone.txt"])


def test_what_was_edited_between_its_record_and_its_reading_is_refused_and_recorded_anew(
    files: list[Path], tmp_path: Path
) -> None:
    record = tmp_path / "files.sha256"
    record.write_text(record_of(files), encoding="utf-8")
    require_recorded(record, record_of(files).splitlines())
    with pytest.raises(ConfigurationError, match=r"^a\.txt changed while the pipeline was running") as refused:
        require_recorded(record, [line(sha256_of(b"edited"), "a.txt")])
    assert "make train" in refused.value.remedy
    assert not record.exists()


def test_a_file_system_without_links_is_named(files: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_link: Path, _target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(ConfigurationError, match=r"cannot hold a link to .*: Operation not permitted") as refused:
        link(folder, {"file": files})
    assert "symbolic links" in refused.value.remedy
