"""What `make compare` compares, marks and draws."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from minimal_llm.experiments.compare import Run, best_runs, differing, short_names
from minimal_llm.experiments.compare_output import curves, draw_curves, write_comparison


def run(name: str, val_loss: float, epochs: int = 3, timed: bool = True, **parameters: Any) -> Run:
    metrics = {"corpus": "primer", "val_loss": val_loss, "val_bits_per_byte": 1.5, "gap": 0.1, "best_epoch": epochs}
    speed = {"total_seconds": 90.0, "peak_memory_mb": 400.0}
    speed |= {"epoch_seconds": [30.0 * n for n in range(1, epochs + 1)]} if timed else {}
    losses = tuple(val_loss + 1 / n for n in range(1, epochs + 1))
    dotted = {key.replace("__", "."): value for key, value in parameters.items()}
    return Run(name, dotted, "", "", metrics, speed, losses)


def test_only_parameters_with_several_values_differ() -> None:
    runs: list[dict[str, Any]] = [
        {"a.x": 1.0, "a.y": 2.0, "b.x": [1]},
        {"a.x": 1.0, "a.y": 3.0, "b.x": [2], "new": 5.0},
    ]
    assert differing(runs) == ["a.y", "b.x"]  # `new` is younger than the first run, whose value nobody knows
    assert short_names(["a.x", "b.x", "a.y"]) == {"a.x": "a.x", "b.x": "b.x", "a.y": "y"}


def test_runs_on_other_tokens_do_not_compete() -> None:
    small, smaller = run("a", 4.0, tokenizer__vocab_size=8000.0), run("b", 3.9, tokenizer__vocab_size=8000.0)
    other = run("c", 2.0, tokenizer__vocab_size=2000.0)
    failed = Run("d", {"tokenizer.vocab_size": 8000.0}, "failed")
    assert best_runs([small, smaller, other, failed]) == [smaller, other]


def test_equal_results_are_one_curve_and_a_run_without_times_is_drawn_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run("short", 4.0), run("workspace", 4.0), run("old", 4.5, timed=False), Run("waits", {}, "queued", "soon")]
    drawn = curves(runs)
    assert [(curve.names, len(curve.minutes)) for curve in drawn] == [(("short", "workspace"), 3), (("old",), 0)]
    write_comparison(runs, tmp_path)
    printed = capsys.readouterr().out
    assert "epochs only, as the times of their epochs were not recorded: old" in printed
    assert "waits (queued): soon" in printed
    assert (tmp_path / "compare.png").is_file()


@pytest.mark.parametrize("count", [1, 2, 30])
def test_any_number_of_runs_with_any_name_makes_a_picture(count: int) -> None:
    names = ["$_$", "_hidden", "中文", "x" * 200, *(f"run-{n}" for n in range(count))]
    drawn = curves([run(name, 4 + n / 10, epochs=1 + n % 4) for n, name in enumerate(names[:count])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = Image.open(io.BytesIO(draw_curves(drawn)))
    assert (picture.format, picture.size) == ("PNG", (2160, 840))


def test_without_any_history_an_older_picture_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "compare.png").write_bytes(b"old")
    write_comparison([Run("a", {}, "failed", "why"), Run("b", {}, "queued", "")], tmp_path)
    assert not (tmp_path / "compare.png").exists()
    assert "compare.png" not in (tmp_path / "compare.md").read_text(encoding="utf-8")
