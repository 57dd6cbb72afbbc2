"""Runs a command and tells what it connected to and which files it made, by its system calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat"
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
_CREATES = re.compile(r"\b(?:creat|mkdir(?:at)?|rename(?:at2?)?|symlink(?:at)?)\(|\bO_CREAT\b")
_PATH = re.compile(r'"(/[^"]*)"')


@dataclass(frozen=True)
class Watched:
    """What a command printed, the (address, port) pairs that it sent something to, and the files that it made."""

    printed: str
    connections: frozenset[tuple[str, int]]
    made: frozenset[Path]


def watched(folder: Path, *command: str, home: Path, variables: Mapping[str, str], isolated: bool = False) -> Watched:
    """Run a command in a folder, with `home` as home and below it the folder for temporary files.

    Nothing of the environment but PATH is passed on: libraries send no reports where CI is set. With `isolated`, the
    command has a network namespace of its own, without any interface that is up.
    """
    temporary, trace = home / "tmp", home.with_name("trace")
    temporary.mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [
            *(["unshare", "-rn"] if isolated else []),
            *("strace", "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)),
            *command,
        ],
        cwd=folder,
        env=environment | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return _read(done.stdout, trace.read_text(encoding="utf-8", errors="replace").splitlines())


def can_isolate() -> bool:
    """Return whether this user may make network namespaces."""
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rn", "true"]).returncode == 0


def _read(printed: str, calls: list[str]) -> Watched:
    connections: set[tuple[str, int]] = set()
    made: set[Path] = set()
    for call in calls:
        if "AF_INET" in call:
            connections.update((address, int(port)) for port, address in _ADDRESS.findall(call))
        elif _CREATES.search(call) and " = -1 " not in call:
            made.update(Path(path) for path in _PATH.findall(call))
    return Watched(printed, frozenset(connections), frozenset(made))
