"""What several tests start from, made once a session: a clone after `make train`, runs of the train stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clone import Clone
from tests.support.stages import run_stage, succeed
from tests.support.training_runs import RUN, start_training, wait_for_checkpoint


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone after its first `make train`, committed. Do not change it: `experimental` is a copy."""
    clone = Clone(tmp_path_factory.mktemp("trained"))
    printed = clone.run("make", "train")
    assert "corpus: primer" in printed
    assert set(clone.phases().values()) == {"completed"}
    clone.git("add", ".")
    clone.commit("trained")
    return clone


@pytest.fixture
def experimental(trained: Clone, tmp_path: Path) -> Clone:
    """A copy of the trained clone to do anything to: what DVC keeps of an experiment would be seen by other tests."""
    return trained.copy_to(tmp_path / "experimental")


@pytest.fixture(scope="session")
def untouched_folder(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run of RUN that nobody stopped. Do not write into it."""
    folder = tmp_path_factory.mktemp("untouched")
    succeed(run_stage("train", tokens_folder, *RUN, "--output-dir", str(folder)))
    return folder


@pytest.fixture(scope="session")
def killed_folder(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of RUN that was killed after its second checkpoint. Do not write into it."""
    folder = tmp_path_factory.mktemp("killed")
    process = start_training(tokens_folder, folder, RUN)
    wait_for_checkpoint(folder, process, count=2)
    process.kill()
    process.communicate()
    return folder
