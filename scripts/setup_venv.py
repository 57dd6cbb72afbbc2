"""Create .venv and install the pinned requirements into it, with nothing but the standard library.

    python3 scripts/setup_venv.py [--dev | --export | --docs] [--this-python]

An environment that works is kept, whichever Python runs this script; with --this-python (`make setup PYTHON=...`) it is
created again if it has another one. --export creates .venv-export instead, with the programs that exported models are
tested in, among them llama.cpp, which pip compiles.

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
    "docs": (".venv", ["requirements.txt", "requirements-dev.txt", "requirements-docs.txt"]),
}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
OLDEST_PYTHON = (3, 11)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(kind="runtime")
    for kind, text in (
        ("dev", "with what only tests and linters need"),
        ("export", "with what loads exported models"),
        ("docs", "with what builds the site, and what only tests need"),
    ):
        parser.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=text)
    parser.add_argument(
        "--this-python", action="store_true", help="the environment must have the Python that runs this"
    )
    options = parser.parse_args()
    return set_up(options.kind, options.this_python)


def set_up(kind: str, this_python: bool = False) -> int:
    """Create one of ENVIRONMENTS, unless its stamp says that it is up to date; return the exit code."""
    name, files = ENVIRONMENTS[kind]
    folder = ROOT / name
    if folder.is_symlink():
        return fail(
            f"{name} is a link to {folder.readlink()}: an environment belongs to one folder, whose code it runs",
            f"rm {name}, then: make setup",
        )
    python, problem = interpreter(folder), why_not(folder, this_python)
    if problem and sys.version_info < OLDEST_PYTHON:
        return fail(
            f"Python {platform.python_version()} is too old, 3.11 or newer is needed",
            "install it, then: make setup PYTHON=python3.11",
        )
    stamp, wanted = folder / f"{kind}.stamp", fingerprint([*files, "pyproject.toml"])
    if not problem and stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return 0
    if problem and folder.exists():
        print(f"Creating {name} again: {problem}.")
    print(f"Setting up {name}, once; this takes some minutes.", flush=True)
    try:
        if problem:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
        install_torch(python, pinned_version("torch"))
        pip(python, "install", "--quiet", *(word for name in files for word in ("-r", str(ROOT / name))))
        pip(python, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    except subprocess.CalledProcessError as error:
        return fail(
            f"set-up failed: pip exited with {error.returncode}; see its message above",
            "check the connection and the disk (df -h), then: make setup",
        )
    stamp.write_text(wanted, encoding="ascii")
    return 0


def fail(message: str, remedy: str) -> int:
    """Print an error and what to do; return the exit code."""
    print(f"error: {message}\n  What to do: {remedy}", file=sys.stderr)
    return 1


def fingerprint(names: list[str]) -> str:
    """Return a hash of some files."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def interpreter(folder: Path) -> Path:
    """Return the path of the Python of the environment in a folder."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def why_not(folder: Path, this_python: bool) -> str:
    """Return why the environment in a folder cannot be used, or "" if it can."""
    try:
        lines = (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "it is not an environment"
    made = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    home, version = made.get("home", ""), made.get("version", "")
    found = version_of(interpreter(folder))
    if not found:
        return f"its Python {version} in {home} is gone"
    if found.split(".")[:2] != version.split(".")[:2]:  # its packages lie in a folder named by the version
        return f"it was made with Python {version}, but its interpreter is now {found}"
    ours = Path(getattr(sys, "_base_executable", sys.executable)).parent  # in an environment, the one it was made with
    if this_python and (found, Path(home).resolve()) != (platform.python_version(), ours.resolve()):
        return f"it has Python {found} of {home}, not {platform.python_version()} of {ours}"
    return ""


def version_of(python: Path) -> str:
    """Return the version of an interpreter, such as 3.12.1, or "" if it cannot be started."""
    code = "import platform; print(platform.python_version())"
    try:
        return subprocess.run(
            [python, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        return ""


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
