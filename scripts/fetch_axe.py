"""Fetch axe-core, which tests use to check the accessibility of the HTML export, into .venv, once, with npm.

Without npm, or without a network, it says so and the tests that need it are skipped. axe-core is not part of the
project: it is not in git, and no page contains it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "axe-core@4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js
TARGET = Path(__file__).resolve().parent.parent / ".venv" / "axe-core" / "axe.min.js"


def main() -> int:
    if TARGET.exists() and is_expected(TARGET.read_bytes()):
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print("note: npm is not there, so the accessibility tests of the HTML export will be skipped")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [npm, "pack", "--silent", "--fetch-retries=0", PACKAGE],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            print(f"note: npm cannot fetch {PACKAGE}, so the accessibility tests of the HTML export will be skipped")
            return 0
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile("package/axe.min.js")
            content = member.read() if member else b""
    if not is_expected(content):
        print(f"error: {PACKAGE} from npm is not the file that this script expects", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(content)
    return 0


def is_expected(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


if __name__ == "__main__":
    sys.exit(main())
