"""A clone of this working tree with small parameters, in which tests run DVC and `make`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stages import ROOT, clean_environment

SMALL: dict[str, dict[str, Any]] = {
    "download": {"source": "primer", "primer_megabytes": 0.1},
    "split": {"block_bytes": 1024},
    "tokenizer": {"vocab_size": 1000, "threads": 1},
    "model": {"layers": 1, "d_model": 64, "heads": 2, "feed_forward": 128},
    "train": {"epochs": 2, "batch_size": 8, "max_seq_length": 32, "warmup_steps": 5, "threads": 1},
}
UNREACHABLE = "http://127.0.0.1:9"  # the discard port: nothing listens there

needs_venv = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="`make` runs in .venv: start these tests with `make test`"
)


def _copy_or_link(source: str, target: str) -> None:
    """Copy a file; share the content-addressed files of git and DVC, which nobody writes into."""
    if "/.git/objects/" in source or "/.dvc/cache/files/" in source:
        with suppress(OSError):  # on another file system
            os.link(source, target)
            return
    shutil.copy2(source, target)


class Clone:
    """A fresh clone of this working tree with small parameters committed; it shares .venv, nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self._enter(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        for section, values in SMALL.items():
            params[section] |= values
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        (folder / "dvc.lock").unlink(missing_ok=True)
        self.git("init", "--quiet")
        self.git("add", ".")
        self.commit("small")

    def _enter(self, folder: Path) -> None:
        self.folder = folder
        self.environment = clean_environment() | {
            "PYTHONPATH": str(folder / "src"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "DVC_SITE_CACHE_DIR": f"{folder}.dvc",  # else DVC keeps hashes of each clone in /var/tmp for good
            "GUTENBERG_MIRRORS": UNREACHABLE,
            "PYTHON": "true",  # in place of the set-up, which would install the clone into the .venv that it shares
        }

    @classmethod
    def existing(cls, folder: Path) -> Clone:
        """Return the clone that another process made in this folder."""
        clone = cls.__new__(cls)
        clone._enter(folder)
        return clone

    def copy_to(self, folder: Path) -> Clone:
        """Return a copy in this new folder that has the history, the results and the caches of this one."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=_copy_or_link)
        return Clone.existing(folder)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def commit(self, message: str, *options: str) -> None:
        """Commit what is staged."""
        self.git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", *options, "-m", message)

    def experiments(self) -> list[str]:
        """Return the references of the experiments that started from the last commit."""
        head = self.git("rev-parse", "HEAD").strip()
        return self.git("for-each-ref", "--format=%(refname)", f"refs/exps/{head[:2]}/{head[2:]}/").split()

    def run(self, *command: str, code: int = 0, limit: float = 240, **variables: str) -> str:
        """Run a command for so many seconds at most; return stdout and stderr after checking the exit code."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=limit,
        )
        assert done.returncode == code, f"{command} exited {done.returncode}\n{done.stdout}"
        return done.stdout

    def json(self, name: str) -> Any:
        return json.loads((self.folder / "data" / name).read_text(encoding="utf-8"))

    def phases(self) -> dict[str, str]:
        phases: dict[str, dict[str, str]] = self.json("pipeline_status.json")["phases"]
        return {name: entry["state"] for name, entry in phases.items()}

    def params(self) -> Any:
        return yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))
