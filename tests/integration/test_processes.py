"""Several processes that train together: the same result as one, killed and resumed, in other numbers, on two hosts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support.stages import ROOT, TINY, clean_environment, run_stage, succeed
from tests.support.training_runs import (
    check_failure,
    checkpoints,
    outcome,
    read,
    start_training,
    wait_until,
)

# fp32 as everywhere: bits are compared
FLAGS = ["--epochs", "8", "--precision", "fp32"]
TWO = [*FLAGS, "--processes", "2", "--checkpoint-every-seconds", "0.1"]


@pytest.fixture(scope="module")
def together(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in two processes. Do not write into it."""
    folder = tmp_path_factory.mktemp("together")
    done = succeed(run_stage("train", tokens_folder, *TWO, "--output-dir", str(folder)))
    assert "2 processes of 1 threads" in done.stdout
    assert done.stdout.count("epoch   1/8") == 1
    assert not done.stderr
    return folder


def members(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that train, which the stage has started."""
    return [
        child for child in psutil.Process(process.pid).children(recursive=True) if "train.py" in str(child.cmdline())
    ]


def start_two(tokens: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a run in two processes; return after its first checkpoint, in the middle of the run."""
    process = start_training(tokens, folder, TWO)
    before = set(checkpoints(folder))
    wait_until(lambda: set(checkpoints(folder)) - before, process)
    return process


def test_two_processes_compute_what_one_does_in_two_parts(tokens_folder: Path, together: Path, tmp_path: Path) -> None:
    succeed(
        run_stage("train", tokens_folder, *FLAGS, "--gradient-accumulation-steps", "2", "--output-dir", str(tmp_path))
    )
    assert (tmp_path / "plots/history.csv").read_bytes() == (together / "plots/history.csv").read_bytes()
    one, two = (read(folder / "metrics/train_speed.json") for folder in (tmp_path, together))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert "2 processes" in two["kernels"][0]


def test_a_member_that_is_killed_ends_the_run_which_resumes_to_the_same_bytes(
    tokens_folder: Path, together: Path, tmp_path: Path
) -> None:
    process = start_two(tokens_folder, tmp_path)
    members(process)[-1].kill()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4
    check_failure(tmp_path, "train", "internal", stderr)
    assert "of 2 ended with code -9 (-9: killed, perhaps because the memory was full)" in stderr
    assert stderr.count("error:") == 1
    done = succeed(run_stage("train", tokens_folder, *TWO, "--output-dir", str(tmp_path)))
    assert "Resuming from epoch" in done.stdout
    assert outcome(tmp_path) == outcome(together)


def test_an_interrupted_run_is_continued_by_another_number_of_processes(tokens_folder: Path, tmp_path: Path) -> None:
    process = start_two(tokens_folder, tmp_path)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.count("progress is saved") == 1
    assert "Traceback" not in stderr
    step = max(int(path.stem.removeprefix("step_")) for path in checkpoints(tmp_path))
    done = succeed(run_stage("train", tokens_folder, *FLAGS, "--output-dir", str(tmp_path)))
    per_epoch = read(next(tmp_path.glob("checkpoints/*/run.json")))["steps_per_epoch"]
    assert f"Resuming from epoch {step // per_epoch}, step {step % per_epoch}, on other kernels" in done.stdout
    assert len(list(tmp_path.glob("checkpoints/*/run.json"))) == 1
    assert len(read(tmp_path / "metrics/train_speed.json")["kernels"]) == 2


def test_an_error_of_all_is_told_once(trained_folder: Path, tmp_path: Path) -> None:
    flags = [
        "--processes",
        "2",
        "--init-from",
        str(trained_folder / "metrics/train.json"),
        "--output-dir",
        str(tmp_path),
    ]
    done = run_stage("train", trained_folder, *flags)
    assert done.returncode == 4
    assert done.stderr.count("error: train.init_from") == 1
    assert "Traceback" not in done.stderr


def test_a_batch_is_not_divided_unequally(trained_folder: Path) -> None:
    done = run_stage("train", trained_folder, "--processes", "3")
    assert done.returncode == 1
    assert "batch_size is 8, which cannot be divided into 3 (processes)" in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Host(NamedTuple):
    """What runs a command on a machine, under which address process 0 is reached, and over which interface."""

    prefix: tuple[str, ...] = ()
    first: str = "127.0.0.1"
    interface: str = "lo"


def start_host(
    number: int,
    tokens: Path,
    output: Path,
    port: int,
    torchrun: bool,
    host: Host = Host(),  # noqa: B008
) -> subprocess.Popen[str]:
    """Start what a user starts by hand on each of two machines, with or without torchrun."""
    variables = {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": host.first, "MASTER_PORT": str(port)}
    command = [*host.prefix, sys.executable]
    if torchrun:
        command += ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number)]
        command += ["--master-addr", host.first, "--master-port", str(port)]
        variables = {}
    variables |= {"GLOO_SOCKET_IFNAME": host.interface, "MINIMAL_LLM_ARRIVAL_SECONDS": "60" if torchrun else "1"}
    stage = ["stages/train.py", "--data-dir", str(tokens), "--output-dir", str(output), *TINY["train"], *FLAGS]
    return subprocess.Popen(
        [*command, *stage, "--processes", "2"],
        cwd=ROOT,
        env={**clean_environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def two_hosts() -> Iterator[list[Host]]:
    """Two network namespaces with a cable between them; where they cannot be made, the loopback interface twice."""
    names = [f"mllm-{os.getpid()}-{number}" for number in (0, 1)]
    wires = [f"w{os.getpid()}-{number}" for number in (0, 1)]
    commands = [f"netns add {name}" for name in names]
    commands.append(f"link add {wires[0]} netns {names[0]} type veth peer name {wires[1]} netns {names[1]}")
    for number, (name, wire) in enumerate(zip(names, wires, strict=True)):
        commands += [f"-n {name} addr add 10.77.0.{number + 1}/24 dev {wire}"]
        commands += [f"-n {name} link set {link} up" for link in ("lo", wire)]
    try:
        if shutil.which("ip") and all(ip(command) for command in commands):
            yield [Host(("ip", "netns", "exec", n), "10.77.0.1", w) for n, w in zip(names, wires, strict=True)]
        else:
            yield [Host(), Host()]
    finally:
        if shutil.which("ip"):
            for name in names:
                ip(f"netns del {name}")


def ip(arguments: str) -> bool:
    return subprocess.run(["ip", *arguments.split()], check=False, capture_output=True).returncode == 0


def test_two_hosts_train_together(tokens_folder: Path, together: Path, two_hosts: list[Host], tmp_path: Path) -> None:
    port = free_port()
    started = [
        start_host(number, tokens_folder, tmp_path, port, torchrun=True, host=host)
        for number, host in enumerate(two_hosts)
    ]
    printed = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    assert "2 processes of 1 threads" in printed[0][0]
    assert "epoch" not in printed[1][0]
    assert outcome(tmp_path) == outcome(together)


def test_a_host_that_never_comes_is_named(tokens_folder: Path, tmp_path: Path) -> None:
    host = start_host(0, tokens_folder, tmp_path, free_port(), torchrun=False)
    _, stderr = host.communicate(timeout=60)
    assert host.returncode == 4
    assert f"after 1 s, only 1 of 2 processes are there, on {socket.gethostname()}; missing: 1" in stderr
    check_failure(tmp_path, "train", "network", stderr)


def test_without_the_first_host_the_others_say_which_address_does_not_answer(
    tokens_folder: Path, tmp_path: Path
) -> None:
    port = free_port()
    host = start_host(1, tokens_folder, tmp_path, port, torchrun=False)
    _, stderr = host.communicate(timeout=60)
    assert host.returncode == 4
    assert f"cannot reach the first process at 127.0.0.1:{port}" in stderr
    assert "Traceback" not in stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_port_in_use_is_named(tokens_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        host = start_host(0, tokens_folder, tmp_path, port, torchrun=False)
        _, stderr = host.communicate(timeout=60)
    assert host.returncode == 4
    assert f"cannot reach the first process at 127.0.0.1:{port}" in stderr
    assert "a MASTER_PORT that is free there" in stderr
