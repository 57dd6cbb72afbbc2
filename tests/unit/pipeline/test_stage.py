from __future__ import annotations

import errno
import io
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.artifacts import STAGES, Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.pipeline import stage as stage_module
from minimal_llm.pipeline.stage import StderrTail, explain, run_stage
from tests.support.stages import ROOT, run_here


@pytest.mark.parametrize(
    ("stage", "flag"),
    list(zip(STAGES, ("--primer-megabytes", "--vocab-size", "--epochs", "--max-gap"), strict=True)),
)
def test_help_names_the_parameters_and_a_wrong_value_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stage: str, flag: str
) -> None:
    assert run_here(stage, "--help") == 0
    shown = capsys.readouterr().out
    assert "--output-dir" in shown
    assert flag in shown
    assert run_here(stage, "--data-dir", str(tmp_path), flag, "-5") == 1
    assert "= -5" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_an_unknown_flag_is_a_configuration_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here("train", "--epoch", "5") == 1
    told = capsys.readouterr().err
    assert "unrecognized arguments: --epoch" in told
    assert "What to do: python stages/train.py --help" in told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--corpus-path", "/nowhere/a.txt"], 2, "/nowhere/a.txt does not exist"),
        (["--corpus-path", "/nowhere/'a.txt"], 1, "No closing quotation"),
        (["--corpus-path", "README.md", "--files", "README.md"], 1, "--corpus-path sets download.files"),
    ],
)
def test_a_corpus_path_that_cannot_be_used_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert run_here("download", *arguments) == code
    assert told in capsys.readouterr().err


def test_the_corpus_path_of_the_download_stage_sets_source_and_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = tmp_path / "my text.txt"
    text.write_text("A text.\n", encoding="utf-8")
    seen: list[Config] = []
    namespace = runpy.run_path(str(ROOT / "stages" / "download.py"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["stages/download.py", "--data-dir", str(tmp_path), "--corpus-path", str(text)])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(stage_module, "_handle_signals", lambda _handler: None)

    def work(config: Config, _inputs: Artifacts, outputs: Artifacts) -> None:
        seen.append(config)
        for path in outputs.outputs("download"):
            path.touch()

    assert run_stage("download", ("download",), "", work, [namespace["CORPUS_PATH"]]) == 0
    download = seen[0].download
    assert (download.source, download.files) == ("files", (str(text),))


@pytest.mark.parametrize(
    ("error", "stage", "code", "kind"),
    [
        (KeyboardInterrupt(), "download", 130, "interrupted"),
        (MemoryError(), "tokenizer", 3, "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "train", 4, "out_of_memory"),
        (RuntimeError("Resource temporarily unavailable"), "train", 4, "out_of_memory"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", "x"), "train", 4, "configuration"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "train", 4, "disk_space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "tokenizer", 3, "disk_space"),
        (OSError(errno.EFBIG, "File too large", "x"), "download", 2, "disk_space"),
        (OSError(errno.EACCES, "Permission denied", "x"), "validate", 5, "configuration"),
        (ZeroDivisionError(), "download", 2, "internal"),
        (ConfigurationError("m", remedy="r"), "train", 1, "configuration"),
    ],
)
def test_every_error_has_the_exit_code_and_the_kind_of_its_stage(
    error: BaseException, stage: str, code: int, kind: str
) -> None:
    known: Any = explain(error, stage, load_config(ROOT / "params.yaml"))
    assert (known.exit_code, known.kind) == (code, kind)
    assert known.remedy


def test_the_tail_passes_everything_on_and_keeps_the_last_lines() -> None:
    stream = io.StringIO()
    tail = StderrTail(stream)
    for number in range(70):
        print(f"line {number}", file=tail)
    tail.write("bar 10%\rbar 90%\rbar 100%")
    assert stream.getvalue().startswith("line 0\n")
    assert tail.lines() == [*(f"line {number}" for number in range(20, 70)), "bar 100%"]
