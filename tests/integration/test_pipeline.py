"""The whole pipeline under real DVC and through `make`, in a clone of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pexpect
import pytest

from minimal_llm.common.artifacts import PICTURES
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv


def test_a_second_make_train_does_nothing_and_says_so(trained: Clone) -> None:
    before = trained.git("status", "--porcelain")
    printed = trained.run("make", "train")
    assert "Nothing to do: all stages are up to date." in printed
    assert "Running stage" not in printed
    assert set(trained.phases().values()) == {"skipped"}
    assert trained.git("status", "--porcelain") == before == ""


def test_an_experiment_runs_only_what_its_parameter_touches_and_can_be_compared(experimental: Clone) -> None:
    printed = experimental.run("dvc", "exp", "run", "-S", "train.epochs=1")
    assert "Running stage 'train'" in printed
    assert "Running stage 'download'" not in printed
    assert "Running stage 'tokenizer'" not in printed
    assert experimental.phases() == {
        "download": "skipped",
        "tokenizer": "skipped",
        "train": "completed",
        "validate": "completed",
    }
    difference = json.loads(experimental.run("dvc", "metrics", "diff", "--all", "--json"))
    assert difference["data/metrics/summary.json"]["best_epoch"] == {"old": 2, "new": 1, "diff": -1}
    assert difference["data/metrics/summary.json"]["val_loss"]["diff"] != 0
    assert "train_minutes" in difference["data/metrics/cost.json"]
    assert "train.epochs" in experimental.run("dvc", "exp", "show", "--csv").splitlines()[0]
    # Back to the old value: the result is known, nothing is trained.
    printed = experimental.run("dvc", "exp", "run", "-S", "train.epochs=2")
    assert "Running stage 'train'" not in printed


def test_variables_of_make_become_tracked_parameters_and_a_changed_corpus_of_ones_own_is_noticed(
    experimental: Clone, tmp_path: Path
) -> None:
    corpus = tmp_path / "my 'own', text; [1] $(touch owned).txt"
    text = (experimental.folder / "data" / "corpus_bilingual.txt").read_text(encoding="utf-8")
    corpus.write_text(text[: len(text) // 2], encoding="utf-8")
    words = ("EPOCHS=1", "LEARNING_RATE=0.00003", "BATCH_SIZE=2", "MAX_SEQ_LENGTH=64", "NPROC=2")
    printed = experimental.run("make", "train", *words, CORPUS=str(corpus))
    assert "-S train.epochs=1" in printed
    assert "corpus: files" in printed
    params = experimental.params()
    assert params["download"]["files"] == [str(corpus)]
    assert [params["train"][name] for name in ("epochs", "batch_size", "max_seq_length")] == [1, 2, 64]
    recorded = experimental.json("training_metrics.json")["configuration"]
    assert recorded["train.learning_rate"] == 3e-5
    assert experimental.json("metrics/train_speed.json")["processes"] == recorded["train.processes"] == 2
    assert "Nothing to do" in experimental.run("make", "train")

    corpus.write_text("Too little text to train on.", encoding="utf-8")
    printed = experimental.run("make", "train", CORPUS=str(corpus), code=2)
    assert "Running stage 'download'" in printed
    assert "tokenizer failed" in printed
    assert not (experimental.folder / "owned").exists()


def test_without_a_mirror_the_primer_is_used_and_every_record_says_so(experimental: Clone) -> None:
    printed = experimental.run("dvc", "exp", "run", "-S", "download.source=gutenberg", "-S", "train.epochs=1")
    assert "primer" in printed
    manifest = experimental.json("corpus_manifest.json")
    assert (manifest["source"], manifest["requested_source"], manifest["fallback"]) == ("primer", "gutenberg", True)
    assert experimental.json("training_metrics.json")["corpus"] == {"source": "primer", "fallback": True}
    report = (experimental.folder / "data" / "report.md").read_text(encoding="utf-8")
    assert "No mirror could be reached" in report


def test_a_failing_stage_is_reported_with_its_code_and_leaves_earlier_results(experimental: Clone) -> None:
    before = (experimental.folder / "data" / "best_model.pt").read_bytes()
    printed = experimental.run("make", "train", "VOCAB_SIZE=32000", code=2)
    assert "tokenizer failed: tokenizer.vocab_size = 32000 is too large" in printed
    status = experimental.json("pipeline_status.json")
    assert (status["state"], status["error"]["exit_code"], status["error"]["kind"]) == ("failed", 3, "configuration")
    assert (experimental.folder / "data" / "best_model.pt").read_bytes() == before
    shown = experimental.run("make", "status")
    assert "tokenizer configuration" in shown


@pytest.mark.parametrize("variable", ["EPOCHS=0", "EPOCHS=$$(touch owned)"])
def test_a_wrong_variable_is_refused_before_anything_runs_and_never_run_itself(trained: Clone, variable: str) -> None:
    printed = trained.run("make", "train", variable, code=2)
    assert "train.epochs = " in printed
    assert "Running stage" not in printed
    assert "Traceback" not in printed
    assert trained.git("status", "--porcelain") == ""
    assert not (trained.folder / "owned").exists()


def make_train(clone: Clone, *arguments: str) -> pexpect.spawn:
    """A long `make train` on a terminal of its own."""
    variables = clone.environment | {"EPOCHS": "60"}
    return pexpect.spawn(
        "make", ["train", *arguments], cwd=str(clone.folder), env=variables, encoding="utf-8", timeout=120
    )


def test_ctrl_c_on_a_terminal_saves_and_the_next_make_train_asks_and_resumes(experimental: Clone) -> None:
    terminal = make_train(experimental)
    terminal.expect(r"epoch +2/60")
    terminal.sendintr()
    terminal.expect("train interrupted: stopped after")
    terminal.expect(pexpect.EOF)
    assert experimental.json("pipeline_status.json")["state"] == "interrupted"

    terminal = make_train(experimental)
    terminal.expect(r"Found an unfinished run, [0-9.]+ of 60 epochs done\. \[R\]esume or \[s\]tart over\?")
    terminal.sendline("")
    terminal.expect("Resuming from epoch")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)

    terminal = make_train(experimental, "RESUME=no")
    terminal.expect("Starting over.")
    terminal.expect(r"epoch +1/60")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)


def test_a_killed_trainer_is_reported_as_killed_and_the_next_run_resumes(experimental: Clone) -> None:
    terminal = make_train(experimental)
    terminal.expect(r"epoch +2/60")
    os.kill(experimental.json("pipeline_status.json")["phases"]["train"]["pid"], signal.SIGKILL)
    terminal.expect("train was killed")
    terminal.expect(pexpect.EOF)
    assert experimental.json("pipeline_status.json")["error"]["kind"] == "interrupted"
    terminal = make_train(experimental, "RESUME=yes")
    terminal.expect("Resuming from epoch")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)


def test_the_targets_explain_themselves(trained: Clone) -> None:
    printed = trained.run("make")
    for target in ("setup", "check", "train", "quick", "verify", "test", "lint", "status", "metrics", "plots", "clean"):
        assert f"make {target} " in printed
    checked = trained.run("make", "check")
    assert "corpus" in checked
    assert "NO" not in checked
    trained.run("make", "train")
    shown = trained.run("make", "status")
    assert "succeeded" in shown
    assert "Data and pipelines are up to date" in shown
    assert "val_loss" in trained.run("make", "metrics")
    assert "no terminal to ask on" in trained.run("make", "clean")
    assert (trained.folder / "data" / "best_model.pt").exists()


def test_the_page_of_plots_needs_no_network(trained: Clone) -> None:
    printed = trained.run("make", "plots")
    index = trained.folder / "dvc_plots" / "index.html"
    assert index.as_uri() in printed
    page = index.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == len(PICTURES)
    assert all((index.parent / picture).exists() for picture in pictures)
    assert page.count("function vegaEmbed(") == 1
    drawn = re.findall(r"""id = "(\w+)">\s*<script[^>]*>\s*var spec = {[^}]""", page)
    assert sorted(drawn) == ["data_plots_history_csv", "data_plots_latency_csv", "data_plots_steps_csv", "loss"]


def test_missing_prerequisites_come_in_one_list(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / ".dvc" / "config").unlink()
    printed = clone.run("make", "check", code=2)
    assert "2 prerequisites missing" in printed
    assert "this folder is not a git repository with a commit" in printed
    assert ".dvc/config is missing" in printed
