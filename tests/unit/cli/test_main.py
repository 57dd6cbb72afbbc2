"""`minimal-llm` in this process: what is dispatched, what is refused, what help and completion show."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minimal_llm.cli.commands import GROUPS
from minimal_llm.cli.generate import SAMPLING
from minimal_llm.cli.main import build_parser, main
from minimal_llm.common.errors import CorpusError, Interrupted
from minimal_llm.inference.sampling import Sampling
from tests.support.stages import ROOT, clean_environment, run_program

COMMANDS = [command.name for group in GROUPS.values() for command in group]
GRID = Path("the/default.yaml")
SECONDS_OF_HELP = 0.3


@pytest.fixture
def in_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that is taken for a clone of the repository."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("PATH", "DVC_SITE_CACHE_DIR"):  # so that they are put back
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("DVC_SITE_CACHE_DIR")


Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the commands call, with its arguments, in the place of what does the work."""
    made: Calls = []

    def door(module: str, name: str, result: object, **others: object) -> None:
        def called(*arguments: object) -> object:
            made.append((name, *arguments))
            return result

        stand_in = ModuleType(module)
        vars(stand_in).update({name: called, **others})
        monkeypatch.setitem(sys.modules, f"minimal_llm.{module}", stand_in)

    door("pipeline.preflight", "check", 0)
    door("pipeline.repro", "run_pipeline", 4)
    door("pipeline.status_table", "show_status", 0)
    door("pipeline.verify", "verify", 5)
    door("pipeline.clean", "clean", 0)
    door("experiments.watch", "watch", 0)
    door("experiments.compare_table", "compare", 0)
    door("experiments.sweep", "run_sweep", 3, GRID=GRID)
    door("experiments.example", "run_example", 2, list_examples=lambda: "all examples")
    door("experiments.share", "share", None)
    return made


@pytest.mark.usefixtures("in_clone")
@pytest.mark.parametrize(
    ("line", "call", "code"),
    [
        ("check", ("check",), 0),
        ("train", ("run_pipeline", {}, None), 4),
        ("train --resume", ("run_pipeline", {}, True), 4),
        ("train --restart --epochs 5", ("run_pipeline", {"train.epochs": "5"}, False), 4),
        (
            "train --batch-size=2 --learning-rate 1e-3 --max-seq-length 64 --vocab-size 4000",
            (
                "run_pipeline",
                {
                    "train.batch_size": "2",
                    "train.learning_rate": "1e-3",
                    "train.max_seq_length": "64",
                    "tokenizer.vocab_size": "4000",
                },
                None,
            ),
            4,
        ),
        ("status", ("show_status",), 0),
        ("verify", ("verify",), 5),
        ("clean", ("clean",), 0),
        ("watch", ("watch",), 0),
        ("compare", ("compare",), 0),
        ("sweep", ("run_sweep", GRID, 1, {}, 1), 3),
        (
            "sweep --grid g.yaml --jobs 2 --seeds 3 --epochs 1",
            ("run_sweep", Path("g.yaml"), 2, {"train.epochs": "1"}, 3),
            3,
        ),
        ("example low-memory --epochs 1 --resume", ("run_example", "low-memory", {"train.epochs": "1"}, True, 1), 2),
        ("example --jobs=2 --epochs=1 -- sweep", ("run_example", "sweep", {"train.epochs": "1"}, None, 2), 2),
        ("share", ("share", ""), 0),
        ("share s3://bucket/path", ("share", "s3://bucket/path"), 0),
    ],
)
def test_a_command_calls_what_does_the_work_with_its_options_and_returns_its_code(
    calls: Calls, line: str, call: tuple[Any, ...], code: int
) -> None:
    assert main(line.split()) == code
    assert calls == [call]


@pytest.mark.usefixtures("in_clone", "calls")
def test_dvc_keeps_its_records_in_the_clone_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["check"])
    assert os.environ["DVC_SITE_CACHE_DIR"] == str(tmp_path / ".dvc" / "tmp" / "site")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", "/elsewhere")
    main(["check"])
    assert os.environ["DVC_SITE_CACHE_DIR"] == "/elsewhere"


@pytest.mark.usefixtures("in_clone")
def test_a_corpus_path_takes_several_files(calls: Calls, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.txt", "b b.txt")]
    for path in paths:
        Path(path).write_text("Text.\n", encoding="utf-8")
    main(["train", "--corpus-path", *paths, "--epochs", "1"])
    overrides = calls[0][1]
    assert (overrides["download.source"], overrides["download.files"]) == ("files", paths)
    assert overrides["train.epochs"] == "1"


@pytest.mark.usefixtures("in_clone", "calls")
def test_example_without_a_name_lists_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example"]) == 0
    assert capsys.readouterr().out.endswith("\n\nall examples\n")


@pytest.mark.usefixtures("in_clone")
@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("trian", 1, "invalid choice: 'trian'"),
        ("train --epoch 5", 1, "unrecognized arguments: --epoch 5"),
        ("train --epochs", 1, "--epochs: expected one argument"),
        ("train --resume --restart", 1, "not allowed with argument --resume"),
        ("train --corpus-path /nowhere/x.txt", 2, "/nowhere/x.txt does not exist"),
        ("train --corpus-path it's.txt", 1, "No closing quotation"),
        ("sweep --jobs two", 1, "--jobs: invalid int value: 'two'"),
        ("generate a -n none", 1, "'none' is not a whole number of at least 1"),
        ("export --format jpeg", 1, "invalid choice: 'jpeg'"),
        ("completion tcsh", 1, "invalid choice: 'tcsh'"),
        ("generate a -p b", 1, "more than one prompt"),
        ("generate a --top-p 2", 1, "top_p = 2.0 is outside 0.0 to 1.0"),
        ("generate a --temp -1", 1, "temperature = -1.0"),
        ("generate --file no/such/file", 1, "no/such/file cannot be read"),
        ("generate a --model none.pt", 5, "there is no model at none.pt"),
        ("info --model none.pt", 5, "make train"),
        ("check", 1, "params.yaml does not exist"),
    ],
)
def test_what_cannot_work_is_refused_by_name_with_what_to_do_and_the_documented_exit_code(
    capsys: pytest.CaptureFixture[str], line: str, code: int, told: str
) -> None:
    assert main(line.split()) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert told in printed.err
    assert "\n  What to do: " in printed.err


def test_outside_of_a_clone_the_pipeline_is_refused_and_the_folder_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train"]) == 1
    assert f"{tmp_path} is not a clone of minimal-llm" in capsys.readouterr().err


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.usefixtures("in_clone", "calls")
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (CorpusError("no book", remedy="connect"), 2, "error: no book\n  What to do: connect\n"),
        (Interrupted("stopped", remedy="make train"), 130, "error: stopped\n  What to do: make train\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (
            ModuleNotFoundError("No module named 'onnx.helper'", name="onnx.helper"),
            1,
            "error: this command needs the package onnx, which is not installed\n"
            "  What to do: make setup in a clone, elsewhere: pip install onnx\n",
        ),
    ],
)
def test_an_error_is_printed_once_and_becomes_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    monkeypatch.setattr(sys.modules["minimal_llm.pipeline.preflight"], "check", raising(error))
    assert main(["check"]) == code
    assert capsys.readouterr() == ("", told)


@pytest.mark.usefixtures("in_clone", "calls")
@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("a bug", name="minimal_llm.nothing")])
def test_a_bug_is_not_taken_for_something_that_the_user_did(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(sys.modules["minimal_llm.pipeline.preflight"], "check", raising(error))
    with pytest.raises(type(error), match="a bug"):
        main(["check"])


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m minimal_llm.cli.main completion bash | head -n 1"
    done = run_program("bash", "-o", "pipefail", "-c", command)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_with_what_it_does_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    listed = shown(capsys, "--help")
    assert listed == shown(capsys)
    for group, commands in GROUPS.items():
        assert f"\n{group}:\n" in listed
        for command in commands:
            assert f"\n  {command.name:11} {command.help}\n" in listed
    assert "Example: minimal-llm train" in listed
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_that_can_be_parsed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    command = next(command for group in GROUPS.values() for command in group if command.name == name)
    listed = shown(capsys, name, "--help")
    assert listed.startswith(f"usage: minimal-llm {name}")
    assert f"{command.help}." in listed
    assert f"Example:\n  {command.example}" in listed
    if command.example.startswith("minimal-llm"):
        words = subprocess.run(
            ["bash", "-c", f"set -- {command.example}; printf '%s\\0' \"$@\""],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        assert build_parser().parse_args(words[1:-1]).command.name == name


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from minimal_llm import __version__

    assert shown(capsys, "--version") == f"minimal-llm {__version__}\n"


def test_the_help_of_generate_shows_the_defaults_that_sampling_has(capsys: pytest.CaptureFixture[str]) -> None:
    listed = " ".join(shown(capsys, "generate", "--help").split())
    defaults = Sampling()
    for flag, name, _, text in SAMPLING:
        assert f"(default: {getattr(defaults, name)}" in text
        assert f"{flag} " in listed
    assert {name for _, name, _, _ in SAMPLING} | {"seed"} == {field.name for field in fields(Sampling)}


def test_help_answers_at_once_and_loads_no_library() -> None:
    code = """
import sys
from minimal_llm.cli.main import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
libraries = {"pydantic", "numpy", "rich", "torch", "dvc", "yaml", "sentencepiece", "psutil", "shtab"}
sys.exit(f"loaded: {libraries & set(sys.modules)}" if libraries & set(sys.modules) else 0)
"""
    run_program(sys.executable, "-c", code)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_program(sys.executable, "-m", "minimal_llm.cli.main", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time of the processor: on a quiet machine that is the time until the answer.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS_OF_HELP


def completion(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def complete_in_bash(script: str, *words: str, folder: Path) -> list[str]:
    """What bash proposes for the last of the words."""
    listed = " ".join(f"'{word}'" for word in words)
    code = f"""{script}
COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; COMPREPLY=()
function=$(complete -p minimal-llm | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function minimal-llm '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, cwd=folder, env=clean_environment(), check=True
    )
    return [word.strip() for word in done.stdout.splitlines()]


def test_bash_completes_commands_options_values_and_paths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = completion(capsys, "bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (tmp_path / "my_text.txt").touch()
    assert complete_in_bash(script, "minimal-llm", "", folder=tmp_path)[: len(COMMANDS)] == COMMANDS
    assert complete_in_bash(script, "minimal-llm", "exp", folder=tmp_path) == ["export"]
    assert complete_in_bash(script, "minimal-llm", "train", "--ep", folder=tmp_path) == ["--epochs"]
    formats = complete_in_bash(script, "minimal-llm", "export", "--format", "onnx", folder=tmp_path)
    assert formats == ["onnx", "onnx-int8"]
    paths = complete_in_bash(script, "minimal-llm", "train", "--corpus-path", "my", folder=tmp_path)
    assert paths == ["my_text.txt"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_for_other_shells_are_valid_and_name_every_command(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    script = completion(capsys, shell)
    assert all(name in script for name in (*COMMANDS, "corpus-path"))
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_every_command_of_the_makefile_can_be_parsed_with_all_variables() -> None:
    variables = {"EPOCHS": "5", "BATCH_SIZE": "2", "LEARNING_RATE": "1e-3", "MAX_SEQ_LENGTH": "64", "JOBS": "2"}
    variables |= {"VOCAB_SIZE": "4000", "CORPUS": "a 'b c.txt' $(d)", "RESUME": "no", "GRID": "-g", "NAME": "-n"}
    variables |= {"REMOTE": "-r"}
    targets = {"check", "train", "watch", "status", "verify", "clean", "compare", "sweep", "example", "share"}
    parsed: dict[str, argparse.Namespace] = {}
    for target in targets:
        words = [f"{name}={value.replace('$', '$$')}" for name, value in variables.items()]
        echoed = (
            f'minimal-llm() {{ printf \'%s\\0\' "$@"; }}; eval "$(make -n -s PYTHON=true {target} "$@" | tail -n 1)"'
        )
        done = subprocess.run(
            ["bash", "-c", echoed, "-", *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=clean_environment() | variables,
            check=True,
        )
        parsed[target] = build_parser().parse_args(done.stdout.split("\0")[:-1])
        assert parsed[target].command.name == target
    for target in ("train", "example", "sweep"):
        options = parsed[target]
        assert (options.epochs, options.vocab_size, options.corpus_path) == ("5", "4000", [variables["CORPUS"]])
    assert parsed["train"].resume is parsed["example"].resume is False
    assert (parsed["sweep"].grid, parsed["sweep"].jobs, parsed["example"].jobs) == (Path("-g"), 2, 2)
    assert (parsed["example"].name, parsed["share"].remote) == ("-n", "-r")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("EPOCH=1", "there is no variable EPOCH; the variables are EPOCHS BATCH_SIZE"),
        ("RESUME=perhaps", "RESUME=perhaps is not yes or no"),
    ],
)
def test_make_refuses_a_misspelled_variable_and_an_unknown_answer(word: str, told: str) -> None:
    done = run_program("make", "-C", str(ROOT), "PYTHON=true", "train", word, code=2)
    assert told in done.stderr
