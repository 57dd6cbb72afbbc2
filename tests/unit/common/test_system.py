from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from minimal_llm.common import system

CORES = 32  # of the machine that these tests make believe


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cgroups, empty, on a machine with many cores; this process is in the group a/b."""
    (tmp_path / "own").write_text("4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/a/b\n", encoding="ascii")
    monkeypatch.setattr(system, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(system, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(CORES)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: CORES)  # as it is called
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    """Write files of the kernel into a group; the first _ of a name stands for its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n", encoding="ascii")


@pytest.mark.parametrize(
    ("quota", "threads"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", CORES)]
)
def test_threads_follow_the_cpu_quota_rounded_down(groups: Path, quota: str, threads: int) -> None:
    write(groups / "a" / "b", cpu_max=quota)
    assert system.physical_cores() == threads


def test_the_smallest_quota_of_a_group_and_of_those_around_it_counts(groups: Path) -> None:
    for folder, cores in ((groups / "a" / "b", 8), (groups / "a", 3), (groups, 6)):
        write(folder, cpu_max=f"{cores * 100_000} 100000")
    assert system.physical_cores() == 3


def test_version_1_of_cgroups_has_a_folder_for_each_controller(groups: Path) -> None:
    write(groups / "cpu" / "a", cpu_cfs_quota_us="250000", cpu_cfs_period_us="50000")
    write(groups / "cpu" / "a" / "b", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    stat = "active_file 7\ninactive_file 7\ntotal_active_file 100000\ntotal_inactive_file 200000"
    write(groups / "memory", memory_limit_in_bytes="9223372036854771712", memory_usage_in_bytes="9", memory_stat=stat)
    write(groups / "memory" / "a", memory_limit_in_bytes="3000000", memory_usage_in_bytes="2500000", memory_stat=stat)
    assert system.physical_cores() == 5
    assert system.available_memory_mb() == 0.8


def test_affinity_counts_as_well_as_a_quota(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(groups, cpu_max="400000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {5, 7}, raising=False)
    assert system.physical_cores() == 2


def test_what_a_control_group_has_read_from_files_counts_as_free(groups: Path) -> None:
    write(
        groups,
        memory_max="3000000",
        memory_current="2500000",
        memory_stat="anon 9\ninactive_file 1000000\nactive_file 500000",
    )
    assert system.available_memory_mb() == 2.0


def test_threads_spin_for_a_limited_time_unless_the_user_decides_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", system.SPIN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(system.SPIN_VARIABLE, "7")
    system.limit_spinning()
    assert os.environ[system.SPIN_VARIABLE] == "7"
    monkeypatch.delenv(system.SPIN_VARIABLE)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    system.limit_spinning()
    assert system.SPIN_VARIABLE not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    system.limit_spinning()
    assert os.environ[system.SPIN_VARIABLE] == str(system.SPIN_COUNT)
