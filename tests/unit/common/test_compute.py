"""How `auto` settings are resolved."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from minimal_llm.common import compute
from minimal_llm.common.compute import choose_compiling, keep_freed_memory
from minimal_llm.common.errors import TrainingError
from minimal_llm.common.system import TOKENS_WORTH_COMPILING


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo changes that choose_compiling makes to the environment."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    ("wanted", "tokens", "compiled"),
    [
        ("auto", TOKENS_WORTH_COMPILING, True),
        ("auto", TOKENS_WORTH_COMPILING - 1, False),
        ("always", 1, True),
        ("never", 10 * TOKENS_WORTH_COMPILING, False),
    ],
)
def test_only_a_run_long_enough_to_benefit_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, tokens: int, compiled: bool
) -> None:
    monkeypatch.setattr(compute, "compiler_problem", lambda: None)
    assert choose_compiling(wanted, "cpu", tokens, tmp_path) == compiled


@pytest.mark.parametrize(("wanted", "compiled"), [("auto", True), ("always", True), ("never", False)])
def test_on_a_gpu_a_short_run_is_compiled_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, compiled: bool
) -> None:
    monkeypatch.setattr(compute, "compiler_problem", lambda: None)
    assert choose_compiling(wanted, "cuda", 1, tmp_path) == compiled


def test_without_a_compiler_auto_prints_why_and_always_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not choose_compiling("auto", "cpu", TOKENS_WORTH_COMPILING, tmp_path)
    assert "Not using torch.compile: no C++ compiler found (no-such-compiler)" in capsys.readouterr().out
    with pytest.raises(TrainingError, match=r"train\.compile is always, but no C"):
        choose_compiling("always", "cpu", 1, tmp_path)


@pytest.mark.parametrize(
    ("largest", "accepted"),
    [
        (2**31, [(-3, 2**30), (-1, 2**31 - 1)]),
        (32 * 2**20, [(-3, 32 * 2**20), (-1, 2**31 - 1)]),  # glibc before 2.35
        (0, []),  # trimming alone would fix the threshold at 128 KB
    ],
    ids=["any threshold", "older glibc", "none"],
)
def test_memory_is_kept_as_far_as_the_c_library_allows(
    monkeypatch: pytest.MonkeyPatch, largest: int, accepted: list[tuple[int, int]]
) -> None:
    done: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        if parameter == -3 and value > largest:
            return 0
        done.append((parameter, value))
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    monkeypatch.setattr("sys.platform", "linux")
    keep_freed_memory()
    assert done == accepted
