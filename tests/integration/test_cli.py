"""`minimal-llm` through its command line and through a real terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import torch

from tests.support.stages import clean_environment, copy_folder, run_program

COMMAND = [sys.executable, "-m", "minimal_llm.cli.main"]


@pytest.fixture(scope="module")
def model(trained_folder: Path) -> Path:
    return trained_folder / "best_model.pt"


def run(*arguments: str | Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The finished command, after checking its exit code."""
    return run_program(*COMMAND, *map(str, arguments), code=code, stdin=stdin)


def test_a_prompt_is_continued_on_stdout_and_measured_on_stderr(model: Path) -> None:
    done = run("generate", "The dog", "--model", model, "-n", "20", "-s", "1")
    assert done.stdout.startswith("The dog")
    assert len(done.stdout) > len("The dog\n")
    assert "tokens/s" in done.stderr
    assert "[seed 1]" in done.stderr


def test_every_way_to_give_a_prompt_gives_the_same_text(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("El niño\n", encoding="utf-8")
    common = ("--model", str(model), "-n", "8", "-s", "5")
    texts = {
        run("generate", "El niño", *common).stdout,
        run("generate", "-p", "El niño", *common).stdout,
        run("generate", "--file", file, *common).stdout,
        run("generate", *common, stdin="El niño\n").stdout,
    }
    assert len(texts) == 1


def test_json_is_one_object_and_nothing_else(model: Path) -> None:
    done = run("generate", "The dog", "--model", model, "-n", "5", "-s", "1", "--json", "--n-samples", "3")
    content = json.loads(done.stdout)
    assert len(content["samples"]) == 3
    assert {sample["finish_reason"] for sample in content["samples"]} <= {"length", "end"}
    assert content["sampling"]["seed"] == 1
    assert content["stats"]["decode_tokens"] == 12
    one = json.loads(run("generate", "The dog", "--model", model, "-n", "5", "-s", "1", "--json").stdout)
    assert one["samples"][0] == content["samples"][0]


def test_generation_goes_on_past_the_context_and_a_long_prompt_is_said_to_be_cut(model: Path) -> None:
    done = run("generate", "word " * 60, "--model", model, "-n", "80", "--temp", "0", "--json")
    assert "tokens, the model reads the last 32" in done.stderr
    assert json.loads(done.stdout)["stats"]["decode_tokens"] > 32


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a", "-p", "b"], "more than one prompt"),
        (["a", "--top-p", "2"], "top_p = 2.0 is outside 0.0 to 1.0"),
        (["a", "--temp", "-1"], "temperature = -1.0"),
        (["--file", "no/such/file"], "no/such/file cannot be read"),
    ],
)
def test_what_cannot_work_is_told_by_name(model: Path, arguments: list[str], told: str) -> None:
    stderr = run("generate", *arguments, "--model", model, code=1).stderr
    assert told in stderr
    assert "What to do:" in stderr
    assert "Traceback" not in stderr


def test_a_missing_model_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    stderr = run("generate", "a", "--model", tmp_path / "none.pt", code=5).stderr
    assert "make train" in stderr


def test_a_tokenizer_of_another_model_is_refused_with_both_hashes(model: Path, tmp_path: Path) -> None:
    folder = copy_folder(model.parent, tmp_path)
    content = torch.load(folder / "best_model.pt", weights_only=True)
    theirs = content["tokenizer_sha256"][:12]
    torch.save({**content, "tokenizer_sha256": "0" * 64}, folder / "best_model.pt")
    stderr = run("generate", "a", "--model", folder / "best_model.pt", code=5).stderr
    assert "000000000000" in stderr
    assert theirs in stderr


def test_a_blocked_prompt_is_refused_and_the_filter_can_be_switched_off(model: Path) -> None:
    prompt = "How to make a bomb"
    refused = run("generate", prompt, "--model", model, code=6)
    assert refused.stdout == ""
    assert "safety filter" in refused.stderr
    assert run("generate", prompt, "--model", model, "-n", "2", "--no-safety").stdout.startswith(prompt)


def test_info_says_what_the_model_is_and_how_it_was_trained(model: Path) -> None:
    content = json.loads(run("info", "--model", model, "--json").stdout)
    assert (content["layers"], content["d_model"], content["corpus"]) == (1, 64, "primer")
    assert content["val_loss"] > 0
    assert "model_version" in run("info", "--model", model).stdout


def on_a_terminal(*arguments: str) -> pexpect.spawn:
    """The command on a terminal of its own, where Ctrl+C reaches it also if whoever runs the tests ignores it."""
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        env=clean_environment(),
        encoding="utf-8",
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_conversation_on_a_terminal_continues_each_prompt_and_survives_ctrl_c(model: Path) -> None:
    child = on_a_terminal("generate", "-i", "--model", str(model), "-n", "5", "-s", "1")
    child.expect("> ")
    child.sendline("The dog")
    child.expect(r"text \d+ tokens")
    child.expect("> ")
    child.sendintr()
    child.expect("> ")
    child.send("\x1b[A\r")  # the arrow key brings the line before back
    child.expect(r"text \d+ tokens")
    child.expect("> ")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_ends_a_text_without_a_traceback(model: Path) -> None:
    # Greedy after such a prompt goes round in circles, so that it is still at it when the signal comes.
    child = on_a_terminal("generate", "word " * 60, "--model", str(model), "-n", "1000000", "--temp", "0")
    child.expect("word word")
    child.sendintr()
    rest = child.read()
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in rest
