"""Other platforms: calls that only some systems have are taken away, and other versions of Python run what they can."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from minimal_llm.common import system
from minimal_llm.common.files import sha256_of_file
from tests.support.campaign import Count
from tests.support.stages import ROOT, TINY, clean_environment, succeed

PYTHONS = [Path(name) for name in os.environ.get("MINIMAL_LLM_PYTHONS", "").split(os.pathsep) if name]
ONLY_ON_LINUX = {os: ("sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise", "posix_fallocate")}
TAKE_AWAY = """
import os, resource, runpy, signal, sys
for module, names in ((os, {os}), (signal, ["SIGHUP"]), (resource, ["prlimit"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.argv = sys.argv[1:]
sys.path.insert(0, "stages")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def without_kernel_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without /proc and cgroups, as macOS is."""
    for name in ("CGROUPS", "OWN_CGROUPS", "OWN_STATUS", "CPU_INFO"):
        monkeypatch.setattr(system, name, tmp_path / "none")


@pytest.mark.usefixtures("without_kernel_files")
def test_without_affinity_cgroups_and_proc_the_portable_calls_serve(
    monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for logical, physical, cores in ((8, 4, 4), (8, None, 8), (None, None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda logical=logical: logical)
        monkeypatch.setattr(psutil, "cpu_count", lambda logical, physical=physical: physical)
        assert system.physical_cores() == cores
    assert not system.has_bf16_flags()
    assert system.available_memory_mb() <= psutil.virtual_memory().total / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert system.peak_memory_mb() == peak * 1024 / 1e6
    monkeypatch.setattr(sys, "platform", "darwin")  # where the same number is in bytes
    assert system.peak_memory_mb() == peak / 1e6
    count("Platforms", "no CPU affinity, no cgroups, no /proc (macOS)", "cores and memory by psutil and getrusage", 5)


def test_the_stages_run_without_the_calls_that_only_linux_has(
    corpus_folder: Path, tokens_folder: Path, tmp_path: Path, count: Count
) -> None:
    for stage, made, expected in (
        ("download", "corpus_bilingual.txt", corpus_folder),
        ("tokenizer", "tokens/train.bin", tokens_folder),
    ):
        code = TAKE_AWAY.format(os=list(ONLY_ON_LINUX[os]))
        command = [sys.executable, "-c", code, f"stages/{stage}.py", "--data-dir", str(tmp_path), *TINY[stage]]
        succeed(
            subprocess.run(
                command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=120
            )
        )
        assert sha256_of_file(tmp_path / made) == sha256_of_file(expected / made)
    count(
        "Platforms", "no affinity, SIGHUP or prlimit (macOS, Windows)", "the corpus and tokens of any other machine", 2
    )


@pytest.mark.parametrize("stage", ["download", "parameters", "tokenizer", "train", "validate"])
def test_a_python_without_the_packages_is_told_what_to_do(stage: str, tmp_path: Path, count: Count) -> None:
    environment = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "stages" / f"{stage}.py")],  # -S: without site-packages
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: minimal_llm is not installed for Python {sys.version.split()[0]}, ")
    assert "What to do: make setup" in done.stderr
    assert not list(tmp_path.iterdir())
    count("Platforms", "a stage is started with another Python", "exit 1, names the Python; make setup", 1)


@pytest.mark.parametrize("word", ["sha256sum", "readlink -f", "sed -i", "grep -P", "date -d", "stat -c", "nproc"])
def test_what_users_run_needs_no_program_that_macos_lacks(word: str) -> None:
    for path in (ROOT / "Makefile", *(ROOT / "examples").glob("*.sh")):
        assert word not in path.read_text(encoding="utf-8"), path


@pytest.mark.long
@pytest.mark.skipif(not PYTHONS, reason="MINIMAL_LLM_PYTHONS names no other interpreters that have the requirements")
@pytest.mark.parametrize("python", PYTHONS, ids=str)
def test_another_version_of_python_makes_the_same_corpus_and_tokens(
    python: Path, corpus_folder: Path, tokens_folder: Path, tmp_path: Path, count: Count
) -> None:
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    for stage in ("download", "tokenizer"):
        command = [str(python), f"stages/{stage}.py", "--data-dir", str(tmp_path), *TINY[stage]]
        succeed(
            subprocess.run(
                command,
                cwd=ROOT,
                env=clean_environment() | {"PYTHONPATH": str(ROOT / "src")},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        )
    for folder, name in ((corpus_folder, "corpus_bilingual.txt"), (tokens_folder, "tokens/train.bin")):
        assert sha256_of_file(tmp_path / name) == sha256_of_file(folder / name)
    count("Platforms", version, "the same corpus, tokenizer and tokens", 2)
