"""`minimal-llm` through its command line and through a real terminal."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import torch

from minimal_llm.cli.main import main
from tests.support.stages import clean_environment, copy_folder, run_program

COMMAND = [sys.executable, "-m", "minimal_llm.cli.main"]


@pytest.fixture(scope="module")
def model(trained_folder: Path) -> Path:
    return trained_folder / "best_model.pt"


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    """What follows in this process computes with as many threads as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(*arguments: str | Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The finished command, as a process of its own, after checking its exit code."""
    return run_program(*COMMAND, *map(str, arguments), code=code, stdin=stdin)


class Here:
    """The command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        """stdout and stderr of a command line, after checking its exit code."""
        assert main([*map(str, arguments)]) == code
        return self._capsys.readouterr()


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(capsys)


def test_a_prompt_is_continued_on_stdout_and_measured_on_stderr(model: Path) -> None:
    done = run("generate", "The dog", "--model", model, "-n", "20", "-s", "1")
    assert done.stdout.startswith("The dog")
    assert len(done.stdout) > len("The dog\n")
    assert "tokens/s" in done.stderr
    assert "[seed 1]" in done.stderr


def test_every_way_to_give_a_prompt_gives_the_same_text(
    here: Here, monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("El niño\n", encoding="utf-8")
    common = ("--model", str(model), "-n", "8", "-s", "5")
    texts = {
        here.run("generate", "El niño", *common)[0],
        here.run("generate", "-p", "El niño", *common)[0],
        here.run("generate", "--file", file, *common)[0],
        run("generate", *common, stdin="El niño\n").stdout,
    }
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("El niño\n".encode())))
    texts.add(here.run("generate", "--file", "-", *common)[0])
    assert len(texts) == 1


def test_json_is_one_object_and_nothing_else(here: Here, model: Path) -> None:
    common = ("generate", "The dog", "--model", model, "-n", "5", "-s", "1", "--json")
    content = json.loads(here.run(*common, "--n-samples", "3")[0])
    assert len(content["samples"]) == 3
    assert {sample["finish_reason"] for sample in content["samples"]} <= {"length", "end"}
    assert content["sampling"]["seed"] == 1
    assert content["stats"]["decode_tokens"] == 12
    one = json.loads(here.run(*common)[0])
    assert one["samples"][0] == content["samples"][0]


def test_several_texts_are_separated(here: Here, model: Path) -> None:
    texts = here.run("generate", "The dog", "--model", model, "-n", "5", "-s", "1", "--n-samples", "3")[0]
    assert [text.startswith("The dog") for text in texts.split("\n---\n")] == [True] * 3


def test_generation_continues_past_the_context_and_says_that_a_long_prompt_is_cut(here: Here, model: Path) -> None:
    stdout, stderr = here.run("generate", "word " * 60, "--model", model, "-n", "80", "--temp", "0", "--json")
    assert "tokens; the model reads only the last 32" in stderr
    assert json.loads(stdout)["stats"]["decode_tokens"] > 32


def test_an_option_that_is_not_given_has_the_default_of_sampling(here: Here, model: Path) -> None:
    common = ("generate", "The dog", "--model", model, "-n", "3", "--json")
    content = json.loads(here.run(*common, "--temp", "0.5", "--top-k", "7")[0])["sampling"]
    assert content.pop("seed") >= 0
    assert content == {
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "repeat_last_n": 64,
    }


def test_a_tokenizer_of_another_model_is_refused_with_both_hashes(here: Here, model: Path, tmp_path: Path) -> None:
    folder = copy_folder(model.parent, tmp_path)
    content = torch.load(folder / "best_model.pt", weights_only=True)
    theirs = content["tokenizer_sha256"][:12]
    torch.save({**content, "tokenizer_sha256": "0" * 64}, folder / "best_model.pt")
    stderr = here.run("generate", "a", "--model", folder / "best_model.pt", code=5)[1]
    assert "000000000000" in stderr
    assert theirs in stderr


def test_a_blocked_prompt_is_refused_and_the_filter_can_be_switched_off(here: Here, model: Path) -> None:
    prompt = "How to make a bomb"
    stdout, stderr = here.run("generate", prompt, "--model", model, code=6)
    assert stdout == ""
    assert "the safety filter blocks this prompt (weapons): 'make a bomb'" in stderr
    assert here.run("generate", prompt, "--model", model, "-n", "2", "--no-safety")[0].startswith(prompt)


def test_info_says_what_the_model_is_and_how_it_was_trained(here: Here, model: Path) -> None:
    content = json.loads(here.run("info", "--model", model, "--json")[0])
    assert (content["layers"], content["d_model"], content["corpus"]) == (1, 64, "primer")
    assert content["val_loss"] > 0
    assert "model_version" in here.run("info", "--model", model)[0]


def on_a_terminal(*arguments: str) -> pexpect.spawn:
    """The command on a terminal of its own, where Ctrl+C reaches it even if the tests run with it ignored."""
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
    # Greedy after such a prompt goes round in circles, so it is still generating when the signal comes.
    child = on_a_terminal("generate", "word " * 60, "--model", str(model), "-n", "1000000", "--temp", "0")
    child.expect("word word")
    child.sendintr()
    rest = child.read()
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in rest
