"""A disk that is full, read-only or limited: told with the file and the remedy, and no earlier result is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import ALL_STAGES, VOLATILE, assert_equal_results, before, start
from tests.support.stages import copy_folder, run_stage, succeed

AREA = "Disk"
CODES = {"download": 2, "tokenizer": 3, "train": 4, "validate": 5}
NEEDED = {"download": 450_000, "tokenizer": 450_000, "train": 9_000_000, "validate": 700_000}  # bytes, about
NOT_MADE = ("checkpoints", "pipeline_status.json")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A folder that is a file system of its own."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody, not even root, write into a folder during the block."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, free: int) -> Path:
    """Fill a disk up to so many free bytes, and return the file to delete."""
    ballast = folder / "ballast"
    while True:
        space = os.statvfs(folder)
        with ballast.open("wb") as file, suppress(OSError):  # somebody else has taken the space meanwhile
            os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free))
            return ballast


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that equal runs have equal."""
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith(NOT_MADE) and f"data/{name}" not in VOLATILE
    }


def files_of(folder: Path) -> set[str]:
    """Return the names of all files."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_told(done: subprocess.CompletedProcess[str], stage: str, reason: str, where: Path) -> None:
    assert done.returncode == CODES[stage], done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    told = done.stderr[done.stderr.index("error: ") :]
    assert reason in told
    assert str(where) in told
    assert "What to do: " in told


@pytest.mark.parametrize(
    ("stage", "rounds"), [("tokenizer", 1), *[pytest.param(s, 6, marks=pytest.mark.long) for s in CODES]]
)
def test_a_disk_that_is_full_at_any_file_of_a_stage_is_told_and_with_space_again_the_stage_ends_right(
    validated_folder: Path, tmp_path: Path, random: Random, count: Count, stage: str, rounds: int
) -> None:
    with small_disk(tmp_path / "disk", 60) as disk:
        folder = disk / "data"
        for _ in range(rounds):
            shutil.rmtree(folder, ignore_errors=True)
            copy_folder(validated_folder, folder)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            earlier = contents(folder)
            ballast = fill(disk, round(random.uniform(0, NEEDED[stage]) / 4096) * 4096)
            done = run_stage(stage, folder)
            assert done.returncode in (0, CODES[stage]), done.stderr
            if done.returncode:
                assert_told(done, stage, "space", folder)
            assert contents(folder) == earlier
            ballast.unlink()
            succeed(run_stage(stage, folder))
            assert contents(folder) == earlier == contents(validated_folder)
    told = f"exit {CODES[stage]}, names the file; earlier results intact; with space, the same command ends right"
    count(AREA, f"the disk full at a random file of stage {stage}", told, rounds)


@pytest.mark.long
@pytest.mark.parametrize("stage", CODES)
def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(
    validated_folder: Path, tmp_path: Path, count: Count, stage: str
) -> None:
    folder = copy_folder(validated_folder, tmp_path / "data")
    shutil.rmtree(folder / "checkpoints")
    earlier = contents(folder)
    limits = ("50000", "20000") if stage == "validate" else ("50000",)
    for limit in limits:
        done = run_stage(stage, folder, under=["prlimit", f"--fsize={limit}"])
        in_exports = Path(tempfile.gettempdir())  # where exports are measured
        assert_told(done, stage, "File too large", in_exports)
        assert "ulimit -f" in done.stderr or stage == "train"
        assert contents(folder) == earlier
    succeed(run_stage(stage, folder))
    assert contents(folder) == earlier
    told = f"exit {CODES[stage]}, names the file; earlier results intact"
    count(AREA, f"ulimit -f in stage {stage}", told, len(limits))


@pytest.mark.long
@pytest.mark.parametrize("stage", CODES)
def test_a_read_only_folder_is_told_and_stays_as_it_is(
    validated_folder: Path, tmp_path: Path, count: Count, stage: str
) -> None:
    folder = copy_folder(validated_folder, tmp_path / "data")
    shutil.rmtree(folder / "checkpoints")
    names = files_of(folder)
    with read_only(folder):
        done = run_stage(stage, folder)
        assert_told(done, stage, "Read-only file system", folder)
        assert "chmod" not in done.stderr
    assert files_of(folder) == names
    count(AREA, f"a read-only data folder in stage {stage}", f"exit {CODES[stage]}, names the file; nothing changes")


@pytest.mark.long
def test_read_only_checkpoints_are_told_before_training_begins(
    validated_folder: Path, tmp_path: Path, count: Count
) -> None:
    folder = copy_folder(validated_folder, tmp_path / "data")
    earlier = contents(folder)
    with read_only(folder / "checkpoints"):
        done = run_stage("train", folder, "--epochs", "3")
        assert_told(done, "train", "Read-only file system", folder / "checkpoints")
    assert "epoch" not in done.stdout
    assert contents(folder) == earlier
    count(AREA, "a read-only folder of checkpoints", "exit 4 before training begins, names the file")


@needs_venv
@pytest.mark.long
@pytest.mark.parametrize("folder", [".dvc", "data"])
def test_a_read_only_part_of_the_clone_is_told_before_anything_runs(
    experimental: Clone, count: Count, folder: str
) -> None:
    with read_only(experimental.folder / folder):
        printed = experimental.run("make", "train", "EPOCHS=1", code=2)
        assert "Running stage" not in printed
        assert "Traceback" not in printed
        assert f"{folder}" in printed
        assert "read-only" in printed.lower()
        assert "What to do" in printed
    assert experimental.git("status", "--porcelain") == ""
    count(AREA, f"make train with {folder} read-only", "told before anything runs")


@pytest.mark.long
def test_a_full_folder_of_temporary_files_is_told_by_its_name(
    validated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    with small_disk(tmp_path / "tmp", 1) as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        for stage, code in CODES.items():
            for free in (0, 65536, 400_000):
                folder = copy_folder(validated_folder, tmp_path / f"{stage}{free}")
                shutil.rmtree(folder / "checkpoints")
                earlier = contents(folder)
                ballast = fill(disk, free)
                done = run_stage(stage, folder)
                assert done.returncode in (0, code)
                if done.returncode:
                    assert_told(done, stage, "space", disk)
                    assert stage == "validate", "nothing else needs temporary files"
                assert contents(folder) == earlier
                assert files_of(disk) == {"ballast"}, "temporary files stay"
                ballast.unlink()
    count(AREA, "the folder of temporary files (TMPDIR) full", "told with its name; nothing is left in it", 12)


@needs_venv
@pytest.mark.long
@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_disk_that_fills_up_under_a_clone_costs_nothing_that_make_train_does_not_make_again(
    first_clone: Clone, tmp_path: Path, random: Random, count: Count, stage: str
) -> None:
    rounds = 3
    with small_disk(tmp_path / "disk", 700) as disk:
        for _ in range(rounds):
            clone = before(stage, first_clone, disk / "clone")
            run = start(clone, "make", "train", logs=tmp_path)
            assert run.wait_for(f"{stage}.py"), run.printed
            ballast = fill(disk, random.choice((0, 4096, 65536, 300_000)))
            code = run.wait()
            told = run.printed
            assert "this is a bug" not in told, told
            ballast.unlink()
            again = clone.run("make", "train")
            assert code == 0 or "What to do" in told, f"{told}\n{again}"
            assert_equal_results(clone, first_clone)
            shutil.rmtree(clone.folder)
    told = "told; with space again, make train ends with the files and the dvc.lock of an undisturbed run"
    count(AREA, f"the disk of a whole clone, with DVC's cache, filling up in stage {stage}", told, rounds)
