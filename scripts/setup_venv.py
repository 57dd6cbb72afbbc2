"""Make .venv and install the pinned requirements into it, with nothing but the standard library.

    python3 scripts/setup_venv.py [--dev]

torch comes first, because its default Linux wheel brings gigabytes of CUDA libraries: a wheel that pip finds locally
wins, then PyTorch's index of CPU builds if it answers, then whatever pip is set up to use.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
OLDEST_PYTHON = (3, 11)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="also what only tests and linters need")
    options = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        print(f"error: Python {platform.python_version()} is too old, 3.11 or newer is needed", file=sys.stderr)
        print("  What to do: install it, then: make setup PYTHON=python3.11", file=sys.stderr)
        return 1
    files = ["requirements.txt", *(["requirements-dev.txt"] if options.dev else [])]
    stamp, wanted = VENV / ("dev.stamp" if options.dev else "runtime.stamp"), fingerprint([*files, "pyproject.toml"])
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return 0
    print("setting up .venv (once; some minutes)", flush=True)
    try:
        make_venv()
        install_torch(pinned_version("torch"))
        pip("install", "--quiet", *(word for name in files for word in ("-r", str(ROOT / name))))
        pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    except subprocess.CalledProcessError as error:
        print(f"error: set-up failed (pip exited with {error.returncode}); its message is above", file=sys.stderr)
        print("  What to do: check the connection and the disk (df -h), then: make setup", file=sys.stderr)
        return 1
    stamp.write_text(wanted, encoding="ascii")
    return 0


def fingerprint(names: list[str]) -> str:
    """Return a hash of some files and of the Python that the environment is made with."""
    digest = hashlib.sha256(sys.version.encode())
    for name in names:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    if not (VENV / "pyvenv.cfg").exists() or not interpreter().exists():
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)


def interpreter() -> Path:
    return VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pip(*arguments: str) -> None:
    subprocess.run([interpreter(), "-m", "pip", "--disable-pip-version-check", *arguments], check=True, cwd=ROOT)


def pinned_version(package: str) -> str:
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==(\S+)", pins, re.MULTILINE)
    if not found:
        raise SystemExit(f"error: requirements.txt does not pin {package}")
    return found[1]


def install_torch(version: str) -> None:
    wheel = f"torch=={version}"
    if installed_torch() == version:
        return
    if (
        subprocess.run(
            [interpreter(), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel],
            check=False,
            capture_output=True,
            cwd=ROOT,
        ).returncode
        == 0
    ):
        return
    if sys.platform.startswith("linux") and not has_nvidia_gpu():
        if answers(f"{CPU_INDEX}/torch/"):
            pip("install", "--quiet", "--no-deps", "--index-url", CPU_INDEX, wheel)
            return
        print("note: PyTorch's index of CPU builds does not answer; taking the default build, which is large")
    pip("install", "--quiet", wheel)


def installed_torch() -> str:
    code = "import importlib.metadata as m; print(m.version('torch').split('+')[0])"
    done = subprocess.run([interpreter(), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def has_nvidia_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):  # noqa: S310  # a constant https address
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
