"""How `auto` settings are resolved."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimal_llm.common import compute
from minimal_llm.common.compute import choose_compiling
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
    assert choose_compiling(wanted, tokens, tmp_path) == compiled


def test_without_a_compiler_auto_prints_why_and_always_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not choose_compiling("auto", TOKENS_WORTH_COMPILING, tmp_path)
    assert "Not using torch.compile: no C++ compiler found (no-such-compiler)" in capsys.readouterr().out
    with pytest.raises(TrainingError, match=r"train\.compile is always, but no C"):
        choose_compiling("always", 1, tmp_path)
