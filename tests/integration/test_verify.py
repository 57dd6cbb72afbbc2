"""`make verify`: a second training compared with the record in dvc.lock and the metrics, in a clone under real DVC."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml

from minimal_llm.cli.main import main
from minimal_llm.common.compute import Compute
from minimal_llm.pipeline.verify import MACHINE, md5_of
from tests.support.clone import Clone, needs_venv
from tests.support.stages import ROOT

pytestmark = needs_venv

VERIFY = ("minimal-llm", "verify")
OTHER_HASH = "0" * 32


def edit_lock(clone: Clone, change: Callable[[Any], object]) -> None:
    """Change the stages of dvc.lock."""
    path = clone.folder / "dvc.lock"
    lock = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(lock["stages"])
    path.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")


def record_hash(stages: Any, name: str, md5: str) -> None:
    """Let every stage of dvc.lock that makes or reads a file record another hash of it."""
    for stage in stages.values():
        for entry in [*stage["deps"], *stage["outs"]]:
            if entry["path"] == name:
                entry["md5"] = md5


def edit_metrics(clone: Clone, name: str, **values: Any) -> None:
    """Change a recorded metrics file as if the recorded run had written it so."""
    path = clone.folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")
    edit_lock(clone, lambda stages: record_hash(stages, name, md5_of(path)))


def set_parameter(clone: Clone, section: str, name: str, value: Any) -> None:
    params = clone.params()
    params[section][name] = value
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def scratch(clone: Clone) -> Path:
    return clone.folder / "runs" / "verify"


def test_a_second_training_gives_the_recorded_bytes(experimental: Clone) -> None:
    set_parameter(experimental, "validate", "max_gap", 0.25)  # shapes no model
    printed = experimental.run("make", "verify")
    assert "inputs: the tokenizer and the token files in data match dvc.lock" in printed
    assert "Comparing bytes: the recorded run was made on this machine (device cpu" in printed
    assert printed.rstrip().splitlines()[-1] == "Verified: all 6 match, comparing bytes."
    assert not scratch(experimental).exists()
    assert experimental.git("status", "--porcelain") == " M params.yaml\n"


def test_without_data_corpus_and_token_files_are_made_again_and_compared_too(experimental: Clone) -> None:
    for path in ("tokens", "corpus_bilingual.txt"):
        target = experimental.folder / "data" / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    printed = experimental.run(*VERIFY)
    assert "stages/download.py" in printed
    assert "data/tokens" in printed
    assert "Verified: all 12 match, comparing bytes." in printed


def test_another_recorded_model_is_reported_and_a_second_try_trains_again(experimental: Clone) -> None:
    edit_lock(experimental, lambda stages: record_hash(stages, "data/best_model.pt", OTHER_HASH))
    for _ in range(2):
        printed = experimental.run(*VERIFY, code=5)
        assert "epoch   1/2" in printed
        assert "NOT verified: 1 of 6 differ, comparing bytes: data/best_model.pt\n" in printed
        assert (scratch(experimental) / "best_model.pt").exists()


def test_with_another_machine_on_record_losses_are_compared(experimental: Clone) -> None:
    edit_metrics(experimental, "data/metrics/train_speed.json", cpu="Abacus 3000")
    edit_lock(experimental, lambda stages: record_hash(stages, "data/best_model.pt", OTHER_HASH))
    printed = experimental.run(*VERIFY)
    assert (
        "Comparing losses within 5%: the recorded run was made on another machine (cpu Abacus 3000 recorded, "
        in printed
    )
    assert "threads" not in printed.split("another machine ")[1]
    assert "Verified: all 2 match, comparing losses within 5%." in printed


def test_losses_that_are_too_far_apart_are_reported(experimental: Clone) -> None:
    edit_metrics(experimental, "data/metrics/train_speed.json", threads=99)
    loss = experimental.json("metrics/train.json")["val_loss"]
    edit_metrics(experimental, "data/metrics/train.json", val_loss=loss * 1.06)
    printed = experimental.run(*VERIFY, code=5)
    assert "threads 99 recorded, 1 here" in printed
    assert "NOT verified: 1 of 2 differ, comparing losses within 5%: val_loss\n" in printed


def test_changed_parameters_and_code_are_refused_with_their_values(experimental: Clone) -> None:
    set_parameter(experimental, "train", "epochs", 3)
    set_parameter(experimental, "download", "megabytes_per_language", 1.4)
    with (experimental.folder / "src" / "minimal_llm" / "model" / "loss.py").open("a", encoding="utf-8") as source:
        source.write("# another line\n")
    printed = experimental.run(*VERIFY, code=1)
    assert "  - train.epochs: 2 in dvc.lock, 3 in params.yaml\n" in printed
    assert "  - download.megabytes_per_language: 1.5 in dvc.lock, 1.4 in params.yaml\n" in printed
    assert "  - src/minimal_llm/model: modified\n" in printed
    assert "dvc repro" in printed
    assert not scratch(experimental).exists()


def test_a_corpus_that_no_mirror_serves_is_reported_before_anything_is_trained(experimental: Clone) -> None:
    def record_books(stages: Any) -> None:
        stages["download"]["params"]["params.yaml"]["download.source"] = "gutenberg"
        record_hash(stages, "data/corpus_bilingual.txt", OTHER_HASH)
        record_hash(stages, "data/tokens", OTHER_HASH + ".dir")

    set_parameter(experimental, "download", "source", "gutenberg")
    edit_lock(experimental, record_books)
    printed = experimental.run(*VERIFY, code=5)
    assert (
        "the corpus differs: no mirror of Project Gutenberg could be reached, so the primer was used instead" in printed
    )
    assert "data/corpus_bilingual.txt: 0000000000 in dvc.lock" in printed
    assert "(primer) here" in printed
    assert "epoch" not in printed


@pytest.mark.parametrize("content", ["", "stages: {}", "stages: [", None])
def test_without_a_record_there_is_nothing_to_compare(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None
) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    if content is not None:
        (tmp_path / "dvc.lock").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # so that it is put back
    assert main(["verify"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "make train" in told


def test_metrics_of_another_run_are_refused(experimental: Clone) -> None:
    (experimental.folder / "data" / "metrics" / "train.json").write_text("{}", encoding="utf-8")
    printed = experimental.run(*VERIFY, code=1)
    assert (
        "dvc.lock was written with other parameters, code or metrics:\n  - data/metrics/train.json: modified\n"
        in printed
    )


def test_a_signal_makes_it_save_and_the_next_call_resumes(experimental: Clone) -> None:
    set_parameter(experimental, "train", "epochs", 20)
    edit_lock(experimental, lambda stages: stages["train"]["params"]["params.yaml"].update({"train.epochs": 20}))
    for reached, stop in (("epoch +2/20", "Ctrl+C"), ("Resuming from epoch", "kill")):
        terminal = pexpect.spawn(
            VERIFY[0],
            list(VERIFY[1:]),
            cwd=str(experimental.folder),
            env=experimental.environment,
            encoding="utf-8",
            timeout=120,
        )
        terminal.expect(reached)
        terminal.sendintr() if stop == "Ctrl+C" else terminal.kill(signal.SIGTERM)
        terminal.expect("error: train was interrupted")
        terminal.expect("make verify resumes it")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 130


def test_the_machine_is_all_that_is_recorded_of_it() -> None:
    compute = Compute("cpu", "fp32", False, 1)
    assert set(MACHINE) == {*asdict(compute), "kernels", "cpu"}
