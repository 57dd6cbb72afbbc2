"""Which stages DVC would run after a file has changed: exactly those whose results the file shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

RERUN: dict[str, set[str]] = {
    # Shape no result
    "common/live_log.py": set(),
    "common/signals.py": set(),
    "pipeline/stage.py": set(),
    # Make files that nothing is measured on
    "export/gguf.py": set(),
    "export/huggingface.py": set(),
    "export/safetensors.py": set(),
    "export/model_card.py": set(),
    # Shape the corpus, and change later stages only by changing it
    "corpus/cleaning.py": {"download"},
    "corpus/primer/story_frames/adv_balloon_landing.yaml": {"download"},
    # The language detector also guards the samples, and its grammar checks what the model writes
    "corpus/language_detection.py": {"download", "validate"},
    "tokenizer/train.py": {"tokenizer"},
    "tokenizer/split.py": {"tokenizer"},
    # Both training and validation compute with it
    "model/transformer.py": {"train", "validate"},
    "training/step.py": {"train"},
    "inference/safety/rules.yaml": {"validate"},
    "export/onnx/quantization.py": {"validate"},
    "validation/gates.py": {"validate"},
}
SHAPE_NO_RESULT = ("common", "pipeline", "experiments", "cli")


@pytest.fixture(scope="module")
def clone(first_clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A trained clone whose sources are changed and put back."""
    return first_clone.copy_to(tmp_path_factory.mktemp("reruns") / "clone")


def would_run(clone: Clone) -> set[str]:
    """Return the stages that DVC sees a change for."""
    with Repo(str(clone.folder)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}  # "../clone/dvc.yaml:train" from another folder


@contextmanager
def a_comment_in(*files: Path) -> Iterator[None]:
    """Append a comment line to Python or YAML files, and put them back."""
    before = {file: file.read_bytes() for file in files}
    try:
        for file, content in before.items():
            file.write_bytes(content + b"# a comment\n")
        yield
    finally:
        for file, content in before.items():
            file.write_bytes(content)


@pytest.mark.parametrize("name", RERUN)
def test_a_changed_file_reruns_the_stages_that_it_shapes(clone: Clone, name: str) -> None:
    with a_comment_in(clone.folder / "src" / "minimal_llm" / name):
        assert would_run(clone) == RERUN[name]
    assert would_run(clone) == set()


@pytest.mark.parametrize("package", SHAPE_NO_RESULT)
def test_no_file_of_a_package_that_shapes_no_result_reruns_anything(clone: Clone, package: str) -> None:
    files = list((clone.folder / "src" / "minimal_llm" / package).rglob("*.py"))
    assert files
    with a_comment_in(*files):
        assert would_run(clone) == set()
