"""What `make compare` compares, marks and draws."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from minimal_llm.experiments import compare as compare_module
from minimal_llm.experiments import compare_table
from minimal_llm.experiments.compare import Run, best_runs, collect_runs, differing, short_names
from minimal_llm.experiments.compare_chart import curves, draw_curves
from minimal_llm.experiments.compare_table import compare, write_comparison


def run(name: str, val_loss: float, epochs: int = 3, timed: bool = True, tokens: str = "", **parameters: Any) -> Run:
    metrics = {"val_loss": val_loss, "val_bits_per_byte": 1.5, "gap": 0.1, "best_epoch": epochs}
    speed = {"total_seconds": 90.0, "peak_memory_mb": 400.0}
    speed |= {"epoch_seconds": [30.0 * n for n in range(1, epochs + 1)]} if timed else {}
    losses = tuple(val_loss + 1 / n for n in range(1, epochs + 1))
    dotted = {key.replace("__", "."): value for key, value in parameters.items()}
    return Run(name, dotted, "", "", metrics, speed, losses, tokens)


def test_only_parameters_with_several_values_differ() -> None:
    runs: list[dict[str, Any]] = [
        {"a.x": 1.0, "a.y": 2.0, "b.x": [1]},
        {"a.x": 1.0, "a.y": 3.0, "b.x": [2], "new": 5.0},
    ]
    assert differing(runs) == ["a.y", "b.x"]  # `new` is younger than the first run, whose value nobody knows
    assert short_names(["a.x", "b.x", "a.y"]) == {"a.x": "a.x", "b.x": "b.x", "a.y": "y"}


def test_each_set_of_tokens_has_its_own_best_run_and_the_table_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = run("a", 4.0, tokens="8k", tokenizer__vocab_size=8000.0)
    smaller = run("b", 3.9, tokens="8k", tokenizer__vocab_size=8000.0)
    other = run("c", 2.0, tokens="2k", tokenizer__vocab_size=2000.0)
    failed = Run("d", {"tokenizer.vocab_size": 8000.0}, "failed")
    assert best_runs([small, smaller, other, failed]) == [smaller, other]
    assert best_runs([smaller, run("equal", 3.9, tokens="8k")]) == [smaller]  # the first of equals
    write_comparison([other, smaller, small, failed], tmp_path)
    printed = capsys.readouterr().out
    assert "Losses on different tokens are not comparable (different tokenizer.vocab_size)" in printed
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("* ")] == ["c", "b"]


@pytest.mark.parametrize("second", ["primer", "gutenberg"])
def test_the_corpus_is_a_column_only_where_it_differs(second: str, tmp_path: Path) -> None:
    write_comparison([run("a", 4.0, corpus="primer"), run("b", 5.0, corpus=second)], tmp_path)
    table = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert ("| name | corpus |" in table) == (second != "primer")


def test_in_a_narrow_terminal_the_parameters_share_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run(f"run-{n}", 4.0 + n, train__epochs=n + 1.0, train__learning_rate=n / 1e3) for n in range(2)]
    monkeypatch.setattr(compare_table, "PIPE_WIDTH", 65)
    monkeypatch.chdir(tmp_path)
    write_comparison(runs, Path())
    printed = capsys.readouterr().out
    assert "parameters" in printed
    assert "epochs=1" in printed
    assert "run-1" in printed
    assert max(map(len, printed.splitlines())) <= 65
    assert "| epochs | learning\\_rate |" in (tmp_path / "compare.md").read_text(encoding="utf-8")


def test_equal_runs_make_equal_files(tmp_path: Path) -> None:
    runs = [run("a", 4.0), run("b", 4.5), Run("waits", {}, "queued", "soon")]
    for folder in ("first", "second"):
        write_comparison(runs, tmp_path / folder)
    for name in ("compare.md", "compare.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def shown(rev: str, name: str | None, **parameters: Any) -> dict[str, Any]:
    """What `dvc exp show --json` says of a revision."""
    return {"rev": rev, "name": name, "data": {"params": {"params.yaml": {"data": parameters}}}, "experiments": None}


def test_experiments_without_results_have_their_state_and_the_command_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment(state: str, rev: str, name: str | None) -> dict[str, Any]:
        # DVC shows the metrics that the experiment started from, which must not be taken for its own
        entry = shown(rev, name, train={"epochs": 3}) | {"metrics": {"val_loss": 1.0}}
        return {"revs": [entry], "executor": {"state": state}, "name": name}

    head = "a" * 40
    commit = shown(head, "main") | {
        "experiments": [
            experiment("failed", "b" * 40, "it's broken"),
            experiment("queued", "c" * 40, "later"),
            experiment("running", "d" * 40, None),
        ]
    }
    answers = {"git": head, "dvc": json.dumps([shown("workspace", None), commit])}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare_module, "output_of", lambda program, *_: answers[program])
    monkeypatch.setattr(compare_module, "git", lambda *_: "")
    assert [(found.name, found.state, found.detail) for found in collect_runs()] == [
        ("workspace", "not run", "make train"),
        ("HEAD (main)", "not run", "make train"),
        ("it's broken", "failed", "dvc queue logs 'it'\"'\"'s broken'"),
        ("later", "queued", "dvc queue start"),
        ("ddddddd", "running", "make watch"),
    ]
    assert all(not found.metrics for found in collect_runs())
    assert collect_runs()[2].parameters == {"train.epochs": 3.0}


@pytest.mark.parametrize(
    ("others", "worth"),
    [
        ([], False),
        ([run("HEAD (main)", 4.0)], False),  # the workspace is what was committed
        ([run("HEAD (main)", 4.1)], True),
        ([Run("HEAD (main)", {}, "not run", "make train")], False),
        ([run("HEAD (main)", 4.0), run("an experiment", 4.0)], True),
        ([Run("HEAD (main)", {}, "not run", "make train"), Run("an experiment", {}, "queued", "")], True),
    ],
)
def test_without_anything_to_compare_it_says_how_to_run_an_experiment(
    others: list[Run], worth: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare_table, "collect_runs", lambda: [run("workspace", 4.0), *others])
    assert compare() == 0
    assert ("Nothing to compare yet" in capsys.readouterr().out) != worth
    assert Path("runs").exists() == worth


def test_equal_results_are_one_curve_and_a_run_without_times_is_drawn_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run("short", 4.0), run("workspace", 4.0), run("old", 4.5, timed=False), Run("waits", {}, "queued", "soon")]
    drawn = curves(runs)
    assert [(curve.names, len(curve.minutes)) for curve in drawn] == [(("short", "workspace"), 3), (("old",), 0)]
    write_comparison(runs, tmp_path)
    printed = capsys.readouterr().out
    assert "against epochs only, because their epochs were not timed: old" in printed
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
