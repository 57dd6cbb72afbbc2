"""What several tests start from: a clone after `make train`, another after an experiment, runs of the train stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from scripts.documents import QUICK, make_quick

from tests.support.clone import Clone
from tests.support.session import SharedFolders
from tests.support.stages import run_stage, succeed
from tests.support.training_runs import RUN, start_training, wait_for_checkpoint


@pytest.fixture(scope="session")
def quick(shared_folders: SharedFolders) -> Path:
    """The results of `make quick`, made once for all documents. Do not write into it."""
    return shared_folders.get("quick", make_quick) / QUICK


@pytest.fixture(scope="session")
def first_clone(shared_folders: SharedFolders) -> Clone:
    """A clone after its first `make train`, committed, for all workers to copy. Run nothing in it."""

    def build(folder: Path) -> None:
        clone = Clone(folder)
        printed = clone.run("make", "train")
        assert "corpus: primer" in printed
        assert set(clone.phases().values()) == {"completed"}
        clone.git("add", ".")
        clone.commit("trained")

    return Clone.existing(shared_folders.get("trained_clone", build))


@pytest.fixture(scope="session")
def trained(first_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A trained clone in which this worker runs what leaves it as it is. Do not change it."""
    return first_clone.copy_to(tmp_path_factory.mktemp("trained") / "clone")


@pytest.fixture
def experimental(first_clone: Clone, tmp_path: Path) -> Clone:
    """A trained clone to do anything to: what DVC keeps of an experiment would be seen by other tests."""
    return first_clone.copy_to(tmp_path / "experimental")


@dataclass(frozen=True)
class Experiment:
    """A clone after an experiment in its workspace, the name of that, and what it printed. Do not change the clone."""

    clone: Clone
    name: str
    printed: str


@pytest.fixture(scope="session")
def experiment(first_clone: Clone, shared_folders: SharedFolders) -> Experiment:
    """One epoch instead of two, at another learning rate."""
    name = "my-idea"

    def build(folder: Path) -> None:
        clone = first_clone.copy_to(folder / "clone")
        # 1e-3 is text to YAML, and a number all the same
        changes = ("-S", "train.learning_rate=1e-3", "-S", "train.epochs=1")
        printed = clone.run("dvc", "exp", "run", "-n", name, *changes)
        (folder / "printed.txt").write_text(printed, encoding="utf-8")

    folder = shared_folders.get("experiment", build)
    return Experiment(Clone.existing(folder / "clone"), name, (folder / "printed.txt").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def untouched_folder(tokens_folder: Path, shared_folders: SharedFolders) -> Path:
    """The outputs of a run of RUN that nobody stopped. Do not write into it."""
    return shared_folders.get(
        "untouched",
        lambda folder: succeed(run_stage("train", tokens_folder, *RUN, "--output-dir", str(folder))),
    )


@pytest.fixture(scope="session")
def killed_folder(tokens_folder: Path, shared_folders: SharedFolders) -> Path:
    """The output folder of a run of RUN that was killed after its second checkpoint. Do not write into it."""

    def build(folder: Path) -> None:
        process = start_training(tokens_folder, folder, RUN)
        wait_for_checkpoint(folder, process, count=2)
        process.kill()
        process.communicate()

    return shared_folders.get("killed", build)
