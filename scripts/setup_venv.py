"""Create .venv and install the pinned requirements into it, with nothing but the standard library.

    python3 scripts/setup_venv.py [--dev | --export]

--export creates .venv-export instead, with the programs that exported models are tested in, among them llama.cpp,
which pip compiles.

torch is installed first, because its default Linux wheel brings gigabytes of CUDA libraries: from a wheel that pip
finds locally, else from PyTorch's index of CPU builds if it answers, else from pip's default index.
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
# By name of the stamp file: the folder of the environment, and the requirements in it
ENVIRONMENTS = {
    "runtime": (".venv", ["requirements.txt"]),
    "dev": (".venv", ["requirements.txt", "requirements-dev.txt"]),
    "export": (".venv-export", ["requirements.txt", "requirements-dev.txt", "requirements-export.txt"]),
}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
OLDEST_PYTHON = (3, 11)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(kind="runtime")
    for kind, text in (("dev", "with what only tests and linters need"), ("export", "with what loads exported models")):
        parser.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=text)
    return set_up(parser.parse_args().kind)


def set_up(kind: str) -> int:
    """Create one of ENVIRONMENTS, unless its stamp says that it is up to date; return the exit code."""
    if sys.version_info < OLDEST_PYTHON:
        print(f"error: Python {platform.python_version()} is too old, 3.11 or newer is needed", file=sys.stderr)
        print("  What to do: install it, then: make setup PYTHON=python3.11", file=sys.stderr)
        return 1
    name, files = ENVIRONMENTS[kind]
    folder = ROOT / name
    stamp, wanted = folder / f"{kind}.stamp", fingerprint([*files, "pyproject.toml"])
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return 0
    print(f"Setting up {name}, once; this takes some minutes.", flush=True)
    try:
        python = make_venv(folder)
        install_torch(python, pinned_version("torch"))
        pip(python, "install", "--quiet", *(word for name in files for word in ("-r", str(ROOT / name))))
        pip(python, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    except subprocess.CalledProcessError as error:
        print(f"error: set-up failed: pip exited with {error.returncode}; see its message above", file=sys.stderr)
        print("  What to do: check the connection and the disk (df -h), then: make setup", file=sys.stderr)
        return 1
    stamp.write_text(wanted, encoding="ascii")
    return 0


def fingerprint(names: list[str]) -> str:
    """Return a hash of some files and of the Python version that the environment is created with."""
    digest = hashlib.sha256(sys.version.encode())
    for name in names:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def make_venv(folder: Path) -> Path:
    """Return the interpreter of the environment in a folder; create it if it is missing or broken."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "pyvenv.cfg").exists() or not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
    return python


def pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True, cwd=ROOT)


def pinned_version(package: str) -> str:
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==(\S+)", pins, re.MULTILINE)
    if not found:
        raise SystemExit(f"error: requirements.txt does not pin {package}")
    return found[1]


def install_torch(python: Path, version: str) -> None:
    wheel = f"torch=={version}"
    if installed_torch(python) == version:
        return
    if (
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel],
            check=False,
            capture_output=True,
            cwd=ROOT,
        ).returncode
        == 0
    ):
        return
    if sys.platform.startswith("linux") and not has_nvidia_gpu():
        if answers(f"{CPU_INDEX}/torch/"):
            pip(python, "install", "--quiet", "--no-deps", "--index-url", CPU_INDEX, wheel)
            return
        print("note: PyTorch's index of CPU builds does not answer; installing the default build, which is large")
    pip(python, "install", "--quiet", wheel)


def installed_torch(python: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('torch').split('+')[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
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
