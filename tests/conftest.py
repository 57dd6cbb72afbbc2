"""Small corpora and models that several tests start from, each made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stages import copy_folder, run_stage, succeed


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus. Do not write into it."""
    folder = tmp_path_factory.mktemp("corpus")
    succeed(run_stage("download", folder))
    return folder


@pytest.fixture(scope="session")
def tokens_folder(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus, its tokenizer and its token files. Do not write into it."""
    folder = tmp_path_factory.mktemp("tokens")
    for path in corpus_folder.glob("corpus_*"):
        (folder / path.name).write_bytes(path.read_bytes())
    succeed(run_stage("tokenizer", folder))
    return folder


@pytest.fixture(scope="session")
def trained_folder(tokens_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pipeline makes up to a small trained model. Do not write into it."""
    folder = copy_folder(tokens_folder, tmp_path_factory.mktemp("trained"))
    succeed(run_stage("train", folder))
    return folder


@pytest.fixture(scope="session")
def validated_folder(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pipeline makes. Do not write into it."""
    folder = copy_folder(trained_folder, tmp_path_factory.mktemp("validated"))
    assert "checks passed. Full report:" in succeed(run_stage("validate", folder)).stdout
    return folder
