"""The processes that train a run together: each computes a part of every batch, and all have the same weights.

torchrun starts them (pipeline/processes.py; a user or a cluster on several machines), torch.distributed connects them:
over gloo on CPUs, over NCCL on NVIDIA GPUs. The first one writes everything. A run in one process has a team of one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.nn.parallel import DistributedDataParallel

from minimal_llm.common.errors import TrainingError
from minimal_llm.common.ranks import local_rank, rank, world_size
from minimal_llm.tokenizer.token_files import Ids

ARRIVAL_SECONDS = "MINIMAL_LLM_ARRIVAL_SECONDS"  # how long to wait for processes that have not come yet
DEFAULT_ARRIVAL_SECONDS = 300.0
SILENCE = timedelta(minutes=30)  # without a word of another process: the first one may evaluate and save meanwhile


class Team:
    """This process (`rank`, from 0) among `size` processes."""

    def __init__(self, number: int = 0, size: int = 1) -> None:
        self.rank = number
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Return the sums of values over all processes, in double precision; the same in each of them."""
        if self.size == 1:
            return list(values)
        device = f"cuda:{local_rank()}" if dist.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def from_first(self, value: float) -> float:
        """Return the value of the first process."""
        return self.sum(value if self.leads else 0.0)[0]

    def averaging(self, module: nn.Module) -> nn.Module:
        """Return the module, made to average its gradients over all processes in the backward pass."""
        if self.size == 1:
            return module
        # Without find_unused_parameters, gradients are exchanged in another order from the second step on: a resumed
        # run of three or more processes would not repeat the bits of one that was not interrupted.
        devices = [local_rank()] if dist.get_backend() == "nccl" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


@contextmanager
def connected(device: str) -> Iterator[Team]:
    """Connect the processes that torchrun has started for the duration of the block; without torchrun, a team of one.

    Raises:
        TrainingError: some did not come in time, or the connection cannot be made.
    """
    if world_size() == 1:
        yield Team()
        return
    seconds = float(os.environ.get(ARRIVAL_SECONDS, DEFAULT_ARRIVAL_SECONDS))
    store = _store(timedelta(seconds=seconds))
    _wait_for_all(store, timedelta(seconds=seconds))
    if device == "cuda":
        torch.cuda.set_device(local_rank())
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank(), world_size=world_size(), timeout=SILENCE)
    try:
        yield Team(rank(), world_size())
    finally:
        dist.destroy_process_group()


def _store(timeout: timedelta) -> Store:
    """Return the store of this run, where processes leave word for each other."""
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    # torchrun has a store of its own; otherwise that of the first process serves all.
    serves = rank() == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(host, int(port), world_size(), serves, timeout, wait_for_workers=False)
    except dist.DistError as error:  # a port in use, an unknown host, a first machine that does not answer
        raise TrainingError(
            f"process {rank()} on {socket.gethostname()} cannot reach the first process at {host}:{port}: "
            f"{str(error).splitlines()[0]}",
            remedy="start process 0 too, with the same MASTER_ADDR and a MASTER_PORT that is free there",
            kind="network",
        ) from error
    return PrefixStore(f"minimal-llm/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _wait_for_all(store: Store, timeout: timedelta) -> None:
    """Wait until every process has left word; raise TrainingError that names those that did not."""
    store.set(f"here/{rank()}", socket.gethostname())
    keys = {number: f"here/{number}" for number in range(world_size())}
    try:
        store.wait(list(keys.values()), timeout)
    except dist.DistStoreError as error:
        here = {number for number, key in keys.items() if store.check([key])}
        hosts = sorted({store.get(keys[number]).decode() for number in here})
        missing = ", ".join(str(number) for number in keys if number not in here)
        raise TrainingError(
            f"after {timeout.total_seconds():g} s, only {len(here)} of {world_size()} processes are there, on "
            f"{', '.join(hosts)}; missing: {missing}",
            remedy=f"start all processes within that time, or allow more: {ARRIVAL_SECONDS}=600",
            kind="network",
        ) from error


def share(tokens: Ids, length: int, team: Team) -> Ids:
    """Return the part of some text that a process evaluates: whole windows of `length` tokens, and the token after."""
    windows = max(0, len(tokens) - 1) // length
    first, end = (windows * number // team.size * length for number in (team.rank, team.rank + 1))
    last = team.rank == team.size - 1
    return tokens[first:] if last else tokens[first : end + 1]
