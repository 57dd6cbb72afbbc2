"""Training that is killed, stopped, starved of disk or found damaged goes on, and ends as if nothing had happened."""

from __future__ import annotations

import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml

from minimal_llm.common.system import compiler_problem
from minimal_llm.tokenizer.token_files import read_tokens
from tests.support.clone import Clone, needs_venv
from tests.support.stages import copy_folder, run_stage, succeed
from tests.support.token_files import write_tokens
from tests.support.training_runs import (
    RUN,
    Malicious,
    check_failure,
    checkpoints,
    outcome,
    read,
    start_training,
    torch_bytes,
    torn_writes,
    wait_for_checkpoint,
    wait_for_training,
    wait_until,
)

SECONDS_TO_STOP = 2.0


def go_on(tokens: Path, output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The same run, up to its end."""
    return succeed(run_stage("train", tokens, *(flags or RUN), "--output-dir", str(output)))


def load(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return content


def resumption_from(checkpoint: Path) -> str:
    """What is printed when a run resumes there."""
    epoch, step = divmod(load(checkpoint)["progress"]["step"], read(checkpoint.parent / "run.json")["steps_per_epoch"])
    return f"Resuming from epoch {epoch}, step {step}"


def test_the_newest_checkpoints_and_those_of_the_wanted_epochs_are_kept(untouched_folder: Path) -> None:
    steps = [int(path.stem.removeprefix("step_")) for path in checkpoints(untouched_folder)]
    per_epoch = steps[-1] // 6
    assert steps[-1] == 6 * per_epoch
    assert 3 * per_epoch in steps
    assert 5 * per_epoch < steps[-2]  # the second newest is from the middle of the last epoch
    assert len(steps) == 3


def freeze_in_a_write(folder: Path, process: subprocess.Popen[str]) -> None:
    """Stop a process, to be killed, at a moment at which it has written a checkpoint in part."""
    while True:
        wait_until(lambda: torn_writes(folder), process, pause=0.0)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process, pause=0.0)
        if torn_writes(folder):
            return
        process.send_signal(signal.SIGCONT)  # it was quicker


@pytest.mark.parametrize(("kills", "epochs"), [(4, 6), pytest.param(20, 24, marks=pytest.mark.long)])
def test_training_that_is_killed_at_any_moment_ends_with_the_bytes_of_a_run_that_never_was(
    tokens_folder: Path, untouched_folder: Path, tmp_path: Path, kills: int, epochs: int
) -> None:
    flags = [*RUN, "--epochs", str(epochs)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    if epochs == 6:
        whole = untouched_folder
    else:
        go_on(tokens_folder, whole, *flags)
    moments = random.Random(1234)
    torn, told = 0, ""
    for number in range(kills):
        before = set(checkpoints(killed))
        process = start_training(tokens_folder, killed, [*flags, "--checkpoint-every-seconds", "0.15"])
        wait_for_training(killed, process)
        in_a_write = number % 2 == 0
        if in_a_write:  # of a later checkpoint than the first, so that the run gets on at all
            wait_until(lambda: set(checkpoints(killed)) - before, process)  # noqa: B023
        time.sleep(moments.uniform(0.0, 0.5))
        if in_a_write:
            freeze_in_a_write(killed, process)
        process.kill()
        told += process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, "it had ended before"
        torn += len(torn_writes(killed))
    done = go_on(tokens_folder, killed, *flags)
    assert outcome(killed) == outcome(whole)
    assert torn >= kills / 2, "a kill did not come in the middle of a write"
    assert not torn_writes(killed)
    resumed = [line for line in (told + done.stdout).splitlines() if line.startswith("Resuming from epoch")]
    assert len(resumed) >= kills / 2
    assert any(not line.endswith("step 0") for line in resumed), "no run went on from the middle of an epoch"


@pytest.mark.serial
def test_no_more_than_the_time_between_two_checkpoints_is_lost(tokens_folder: Path, tmp_path: Path) -> None:
    # An epoch of a thousand steps, so that what is found was not written at its end.
    process = start_training(tokens_folder, tmp_path, ["--batch-size", "1", "--checkpoint-every-seconds", "0.5"])
    wait_for_checkpoint(tmp_path, process, count=2)
    time.sleep(1.0)
    process.kill()
    killed_at = time.time()
    process.communicate()
    first, second = (path.stat().st_mtime for path in checkpoints(tmp_path))
    assert second - first < 1.5
    assert killed_at - second < 1.5


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str, float]:
    """stdout, stderr and the seconds that a process took to end, under a hail of signals from the first one on."""
    started = time.monotonic()
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.01)
    return *process.communicate(), time.monotonic() - started


@pytest.mark.serial
def test_signals_save_at_once_and_the_run_goes_on_to_the_same_bytes(
    tokens_folder: Path, untouched_folder: Path, tmp_path: Path
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start_training(tokens_folder, tmp_path, ["--epochs", "6"])  # saves after epochs, and when stopped
        wait_for_training(tmp_path, process)
        before = set(checkpoints(tmp_path))
        wait_until(lambda: set(checkpoints(tmp_path)) - before, process)  # noqa: B023
        stdout, stderr, seconds = stop(process, number)
        assert process.returncode == 130, stderr
        assert seconds < SECONDS_TO_STOP
        assert "progress is saved" in stderr
        assert "Traceback" not in stderr
        assert ("Resuming from epoch" in stdout) == bool(before)
        assert read(tmp_path / "pipeline_status.json")["error"]["kind"] == "interrupted"
    assert not (tmp_path / "best_model.pt").exists()
    resumption = resumption_from(checkpoints(tmp_path)[-1])
    assert resumption in go_on(tokens_folder, tmp_path).stdout
    assert outcome(tmp_path) == outcome(untouched_folder)


@pytest.mark.serial
def test_a_signal_before_training_begins_ends_it_as_quietly(tokens_folder: Path, tmp_path: Path) -> None:
    process = start_training(tokens_folder, tmp_path, RUN)
    wait_until((tmp_path / "pipeline_status.json").exists, process)  # torch is being imported
    _, stderr, seconds = stop(process, signal.SIGTERM)
    assert process.returncode == 130, stderr
    assert seconds < SECONDS_TO_STOP
    assert "Traceback" not in stderr
    assert read(tmp_path / "pipeline_status.json")["error"]["kind"] == "interrupted"


@pytest.fixture
def mostly_validation(tokens_folder: Path, tmp_path: Path) -> Path:
    """Token files whose sides have changed places, the long one repeated: an epoch is almost all evaluation."""
    folder = copy_folder(tokens_folder, tmp_path / "mostly_validation")
    tokens = read_tokens(folder / "tokens")
    *spans, last = tokens.meta.train
    longer = last.model_copy(update={"tokens": last.tokens + 11 * len(tokens.train)})
    meta = tokens.meta.model_copy(update={"train": tokens.meta.val, "val": (*spans, longer)})
    write_tokens(folder / "tokens", meta, {**tokens.ids, "train": tokens.val, "val": np.tile(tokens.train, 12)})
    return folder


@pytest.mark.serial
def test_a_signal_breaks_off_an_evaluation_which_is_made_up_for(mostly_validation: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    go_on(mostly_validation, whole, "--epochs", "2")
    process = start_training(mostly_validation, stopped, ["--epochs", "2"])
    wait_for_checkpoint(stopped, process)
    time.sleep(load(checkpoints(stopped)[0])["progress"]["seconds"]["evaluation"] / 2)
    _, stderr, seconds = stop(process, signal.SIGINT)
    assert process.returncode == 130, stderr
    assert seconds < SECONDS_TO_STOP
    before, after = (load(path)["progress"] for path in checkpoints(stopped))
    steps = read(checkpoints(stopped)[-1].parent / "run.json")["steps_per_epoch"]
    assert after["step"] == 2 * steps, "no evaluation was at work"
    first = before["seconds"]["evaluation"]
    assert after["seconds"]["evaluation"] - first < 0.8 * first, "the evaluation was made to its end"
    done = go_on(mostly_validation, stopped, "--epochs", "2")
    assert "Resuming from epoch 2, step 0" in done.stdout
    assert outcome(stopped) == outcome(whole)


COMPILED = ("--compile", "always")


@pytest.fixture(scope="module")
def compiled_folder(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run with torch.compile. Do not write into it."""
    problem = compiler_problem()
    if problem is not None:
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("compiled")
    go_on(tokens_folder, folder, *COMPILED)
    return folder


@pytest.mark.long
@pytest.mark.serial
def test_a_signal_breaks_off_the_compiler_and_another_process_gives_the_same_bytes(
    tokens_folder: Path, compiled_folder: Path, tmp_path: Path
) -> None:
    process = start_training(tokens_folder, tmp_path, [*COMPILED])
    wait_until(lambda: list(tmp_path.glob("checkpoints/compiled/**/*.cpp")), process)
    started = time.time()
    _, stderr, _ = stop(process, signal.SIGINT)
    assert process.returncode == 130, stderr
    # Not the end of the process: on a busy machine, that of the compiler's many modules takes a second or more.
    assert (tmp_path / "pipeline_status.json").stat().st_mtime - started < SECONDS_TO_STOP
    assert "Traceback" not in stderr
    assert load(checkpoints(tmp_path)[-1])["progress"]["step"] == 0, "the compiler had ended before"
    go_on(tokens_folder, tmp_path, *COMPILED)
    assert outcome(tmp_path) == outcome(compiled_folder)


@pytest.mark.long
def test_compiled_training_ends_close_to_training_that_is_not(trained_folder: Path, compiled_folder: Path) -> None:
    plain, compiled = (read(folder / "metrics" / "train.json") for folder in (trained_folder, compiled_folder))
    assert read(compiled_folder / "metrics" / "train_speed.json")["compiled"]
    assert compiled["val_loss"] == pytest.approx(plain["val_loss"], abs=0.02)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of its own, for a few checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_training_and_with_space_again_it_goes_on_to_the_same_bytes(
    tokens_folder: Path, untouched_folder: Path, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(12_000_000))
    done = run_stage("train", tokens_folder, *RUN, "--checkpoint-every-epochs", "1", "--output-dir", str(small_disk))
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert "checkpoint " + str(small_disk / "checkpoints") in done.stderr
    check_failure(small_disk, "train", "disk_space", done.stderr)
    assert len(checkpoints(small_disk)) >= 2
    assert all(load(path) for path in checkpoints(small_disk))
    assert not torn_writes(small_disk)
    ballast.unlink()
    done = go_on(tokens_folder, small_disk)
    assert "Resuming from epoch" in done.stdout
    assert outcome(small_disk) == outcome(untouched_folder)


def test_a_limit_on_the_size_of_files_is_told_as_a_full_disk_is(
    tokens_folder: Path, killed_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(killed_folder, tmp_path)
    before = {path: path.read_bytes() for path in checkpoints(folder)}
    process = start_training(
        tokens_folder, folder, RUN, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    )
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 4
    assert "File too large" in stderr
    check_failure(folder, "train", "disk_space", stderr)
    assert {path: path.read_bytes() for path in checkpoints(folder)} == before
    assert not torn_writes(folder)


def damages(whole: Path, trace: Path) -> dict[str, bytes]:
    """What may be found in the place of a checkpoint."""
    content, middle = whole.read_bytes(), whole.stat().st_size // 2
    return {
        "empty": b"",
        "truncated": content[:middle],
        "one bit changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "of another run": torch_bytes({**load(whole), "run": "0" * 32}),
        "something else": torch_bytes({"model": {}}),
        "malicious": torch_bytes({**load(whole), "progress": Malicious(trace)}),
        "malicious, no archive": pickle.dumps(Malicious(trace)),
    }


def test_damaged_foreign_and_malicious_checkpoints_are_named_and_the_one_before_them_serves(
    tokens_folder: Path, untouched_folder: Path, killed_folder: Path, tmp_path: Path
) -> None:
    folder, trace = copy_folder(killed_folder, tmp_path / "run"), tmp_path / "executed"
    good = checkpoints(folder)[-1]
    step = int(good.stem.removeprefix("step_"))
    for number, content in enumerate(damages(good, trace).values(), 1):
        good.with_name(f"step_{step + number:08d}.pt").write_bytes(content)
    bad = [path for path in checkpoints(folder) if path.name > good.name]
    resumption = resumption_from(good)
    done = go_on(tokens_folder, folder)
    assert all(f"skipping checkpoint {path.name}: {path}" in done.stderr for path in bad)
    assert "Traceback" not in done.stderr
    assert not trace.exists()
    assert resumption in done.stdout
    assert outcome(folder) == outcome(untouched_folder)


def test_changed_parameters_never_go_on_from_another_run(
    tokens_folder: Path, killed_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(killed_folder, tmp_path)
    done = go_on(tokens_folder, folder, "--epochs", "1")
    assert "resuming" not in done.stdout
    assert len(list(folder.glob("checkpoints/*/step_*.pt"))) > 1  # what is unfinished stays for whoever goes back to it


def test_a_second_trainer_on_the_same_run_is_refused_with_the_pid_of_the_first(
    tokens_folder: Path, tmp_path: Path
) -> None:
    flags = ["--epochs", "50"]
    first = start_training(tokens_folder, tmp_path, flags)
    wait_for_training(tmp_path, first)
    second = run_stage("train", tokens_folder, *flags, "--output-dir", str(tmp_path))
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert second.returncode == 4
    assert f"another process (pid {first.pid})" in second.stderr
    assert "Traceback" not in second.stderr


def interrupt_repro(clone: Clone) -> str:
    """What `dvc repro` printed until Ctrl+C at its terminal, after the first checkpoint that it wrote."""
    process = subprocess.Popen(
        ["dvc", "repro", "train"],
        cwd=clone.folder,
        env=clone.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    before = set(checkpoints(clone.folder / "data"))
    wait_until(lambda: set(checkpoints(clone.folder / "data")) - before, process)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert clone.json("pipeline_status.json")["state"] == "interrupted"
    return printed


@needs_venv
def test_an_interrupted_repro_is_gone_on_with_by_the_next_one_and_by_an_experiment_in_a_temporary_copy(
    experimental: Clone, tmp_path: Path
) -> None:
    params = experimental.params()
    params["train"] |= {"epochs": 6, "checkpoint_every_seconds": 0.1}
    (experimental.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    assert "resuming" not in interrupt_repro(experimental)
    assert "Resuming from epoch" in interrupt_repro(experimental)
    assert "Resuming from epoch" in experimental.run("dvc", "exp", "run", "--temp", "--name", "elsewhere", "train")
    experimental.run("dvc", "exp", "apply", "elsewhere")
    experimental.run("python", "stages/train.py", "--output-dir", str(tmp_path))
    assert outcome(experimental.folder / "data") == outcome(tmp_path)
