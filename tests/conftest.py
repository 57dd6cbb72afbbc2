"""How tests are spread over processes, and the small corpora and models that several of them start from."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import Scheduling

# Before torch is imported. Threads that spin while they wait take the cores of other tests: a validate stage needs four
# times as long. Neither changes a result; a stage that is given a number of threads uses it.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before a test imports ONNX Runtime, which reports its use otherwise

from tests.support.session import TOGETHER, InOrder, SharedFolders, turn
from tests.support.stages import copy_folder, run_stage, succeed


def is_serial(item: pytest.Item) -> bool:
    return item.get_closest_marker("serial") is not None


def place(item: pytest.Item) -> int:
    """Where a test comes: the longest first, so that all workers end at the same time; those that run alone last."""
    if is_serial(item):
        return 4
    if item.get_closest_marker("longest"):
        return 0
    if item.path.name in TOGETHER:
        return 1
    return 3 if Path(__file__).parent / "unit" in item.path.parents else 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests into order; where they have the same place, pytest-randomly's stays."""
    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Hand the tests out in this order."""
    config.option.loadscopereorder = False
    return InOrder(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked `serial` run while no other worker runs one."""
    with turn(alone=is_serial(item)):
        return (yield)


@pytest.fixture(scope="session")
def shared_folders(tmp_path_factory: pytest.TempPathFactory) -> SharedFolders:
    """Folders that are built once a session, for all workers."""
    return SharedFolders(tmp_path_factory)


@pytest.fixture(scope="session")
def corpus_folder(shared_folders: SharedFolders) -> Path:
    """A folder with a small corpus. Do not write into it."""
    return shared_folders.get("corpus", lambda folder: succeed(run_stage("download", folder)))


@pytest.fixture(scope="session")
def tokens_folder(corpus_folder: Path, shared_folders: SharedFolders) -> Path:
    """A folder with a small corpus, its tokenizer and its token files. Do not write into it."""

    def build(folder: Path) -> None:
        for path in corpus_folder.glob("corpus_*"):
            (folder / path.name).write_bytes(path.read_bytes())
        succeed(run_stage("tokenizer", folder))

    return shared_folders.get("tokens", build)


@pytest.fixture(scope="session")
def trained_folder(tokens_folder: Path, shared_folders: SharedFolders) -> Path:
    """A folder with all that the pipeline makes up to a small trained model. Do not write into it."""

    def build(folder: Path) -> None:
        succeed(run_stage("train", copy_folder(tokens_folder, folder)))

    return shared_folders.get("trained", build)


@pytest.fixture(scope="session")
def validated_folder(trained_folder: Path, shared_folders: SharedFolders) -> Path:
    """A folder with all that the pipeline makes. Do not write into it."""

    def build(folder: Path) -> None:
        assert (
            "checks passed. Full report:" in succeed(run_stage("validate", copy_folder(trained_folder, folder))).stdout
        )

    return shared_folders.get("validated", build)
