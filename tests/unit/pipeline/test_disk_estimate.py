from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.pipeline.disk_estimate import checkpoint_mb, disk_needed_mb, sweep_disk_mb, text_mb
from minimal_llm.pipeline.memory_estimate import weights_mb
from minimal_llm.pipeline.preflight import check_disk
from tests.support.stages import ROOT


class Usage(NamedTuple):
    """What shutil.disk_usage returns, as far as it is used."""

    free: int


def configured(**changes: Any) -> Config:
    return load_config(ROOT / "params.yaml", {key.replace("__", "."): value for key, value in changes.items()})


def test_the_files_of_a_user_count_with_their_size_in_the_folder_and_in_the_cache_of_dvc(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_bytes(b"a" * 5_000_000)
    files = configured(download__source="files", download__files=[str(tmp_path / "*.txt"), str(tmp_path / "own.txt")])
    none = configured(download__source="files", download__files=[str(tmp_path / "none.txt")])
    assert disk_needed_mb(files) - disk_needed_mb(none) == pytest.approx(2 * (5 + 2 * 5 / 3.5), rel=0.01)


def test_each_checkpoint_that_is_kept_counts() -> None:
    few, many = configured(train__checkpoint_every_epochs=20), configured(train__checkpoint_every_epochs=1)
    assert disk_needed_mb(many) - disk_needed_mb(few) == pytest.approx(19 * checkpoint_mb(few))
    more = configured(train__checkpoint_every_epochs=20, train__keep_checkpoints=12)
    assert disk_needed_mb(more) - disk_needed_mb(few) == pytest.approx(10 * checkpoint_mb(few))


def test_a_sweep_counts_its_clones_and_each_model_but_an_equal_corpus_once() -> None:
    configs = [configured(train__learning_rate=rate) for rate in (0.001, 0.002, 0.003)]
    alone, models, text = disk_needed_mb(configs[0]), 2 * weights_mb(configs[0]), text_mb(configs[0])
    assert sweep_disk_mb(configs[:1], configs) == pytest.approx(alone + 2 * models)
    checkpoints = 7 * checkpoint_mb(configs[0])  # every fifth of 20 epochs, the two newest, one that is being written
    assert sweep_disk_mb(configs[:2], configs) == pytest.approx(alone + 3 * models + text + checkpoints)


def test_too_little_disk_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(free=700_000_000))
    finding = check_disk(900, Artifacts(tmp_path), "the sweep")
    assert finding.detail == "700 MB free, the sweep needs 900 MB"
    assert finding.remedy == "free 200 MB: make clean, dvc gc --workspace"
    assert check_disk(100, Artifacts(tmp_path)).remedy is None
