"""What a power cut leaves: what was not synced before it is lost, so the order of system calls decides."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.campaign import Count
from tests.support.stages import ROOT, TINY, clean_environment, copy_folder

CALLS = "write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += 0|^(?P<write>write)\(\d+<(?P<file>[^>]*)>.* = \d+")


class Call(NamedTuple):
    """A system call that went well: its name, and the paths of its files."""

    name: str
    paths: tuple[Path, ...]


def trace(command: list[str], folder: Path) -> list[Call]:
    """Run a command and return its system calls that write, sync, rename or delete, in their order."""
    log = folder / "strace.log"
    strace = [
        "strace",
        "--follow-forks",
        "--decode-fds=path",
        "--string-limit=4096",
        f"--trace={CALLS}",
        "-o",
        str(log),
    ]
    done = subprocess.run(
        [*strace, *command], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    calls: list[Call] = []
    unfinished: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        process, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            unfinished[process] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            text = unfinished.pop(process) + text[resumed.end() :]
        if found := CALL.match(text):
            if found["write"]:
                calls.append(Call("write", (Path(found["file"]),)))
            else:
                names = re.findall(r'"((?:[^"\\]|\\.)*)"', found["arguments"]) or re.findall(r"<([^>]*)>", text)
                calls.append(Call(found["name"], tuple(map(Path, names))))
    return calls


def is_synced(calls: list[Call], path: Path) -> bool:
    """Whether, after these calls, what was last written into a file or folder is on the disk."""
    last = max((i for i, call in enumerate(calls) if call.name == "write" and path in call.paths), default=-1)
    return any("sync" in call.name and path in call.paths for call in calls[last + 1 :])


@pytest.fixture
def strace() -> None:
    probe = ["strace", "-o", "/dev/null", "true"]
    if shutil.which("strace") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace is missing or not permitted here")


@pytest.mark.long
@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("stage", ["download", "tokenizer", "train", "validate"])
def test_every_file_is_on_the_disk_before_it_replaces_another_and_before_what_it_replaces_is_deleted(
    trained_folder: Path, tmp_path: Path, count: Count, stage: str
) -> None:
    folder = copy_folder(trained_folder, tmp_path / "data")
    shutil.rmtree(folder / "checkpoints")
    flags = [*TINY[stage], *(("--epochs", "4", "--checkpoint-every-epochs", "9") if stage == "train" else ())]
    calls = trace([sys.executable, f"stages/{stage}.py", "--data-dir", str(folder), *flags], tmp_path)
    replaced: list[tuple[int, Path, Path]] = []
    for number, call in enumerate(calls):
        if call.name.startswith("rename") and folder in call.paths[-1].parents:
            replaced.append((number, *call.paths))
    assert replaced
    ends = [number for number, *_ in replaced[1:]] + [len(calls)]
    for (number, temporary, path), end in zip(replaced, ends, strict=True):
        assert is_synced(calls[:number], temporary), f"{path} is replaced before its content is on the disk"
        following = [
            call.name for call in calls[number + 1 : end] if path.parent in call.paths or "unlink" in call.name
        ]
        assert following[:1] == ["fsync"], f"{path.parent} is not synced after {path} was replaced: {following}"
    if stage == "train":
        deleted = check_checkpoints(calls, replaced)
        assert deleted
        count("Processes", "power cut: order of deleting old checkpoints", "a newer one is on the disk before", deleted)
    names = {path.name for _, _, path in replaced}
    assert "pipeline_status.json" in names
    told = "content synced before, folder synced after each replacement"
    count("Processes", f"power cut: order of the system calls of stage {stage}", told, len(replaced))


def check_checkpoints(calls: list[Call], replaced: list[tuple[int, Path, Path]]) -> int:
    """Assert that a checkpoint goes only after a newer one came, and the mark comes last; return how many went."""
    steps = {number: path for number, _, path in replaced if path.name.startswith("step_")}
    mark = next(number for number, _, path in replaced if path.name == "finished")
    newest = max(steps)
    assert newest < mark
    deleted = 0
    for number, call in enumerate(calls):
        if call.name == "unlink" and call.paths[0].name.startswith("step_"):
            assert any(kept.name > call.paths[0].name for at, kept in steps.items() if at < number)
            assert call.paths[0] != steps[newest]
            deleted += 1
    return deleted
