from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common import system
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import TrainingError
from minimal_llm.pipeline import memory_estimate
from tests.support.stages import ROOT


def test_what_a_control_group_has_read_from_files_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("3000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("2500000\n", encoding="ascii")
    (tmp_path / "memory.stat").write_text("anon 9\ninactive_file 1000000\nactive_file 500000\n", encoding="ascii")
    monkeypatch.setattr(system, "CGROUPS", tmp_path)
    assert system.available_memory_mb() == 2.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, r"reduce train\.batch_size from 32 to 16"),
        ({"train.batch_size": 8}, r"set train\.compile to never"),
        ({"train.batch_size": 8, "train.compile": "never"}, r"reduce train\.batch_size from 8 to 4"),
        (
            {"train.batch_size": 1, "train.compile": "never", "train.max_seq_length": 64},
            r"reduce train\.max_seq_length from 64 to 32",
        ),
    ],
)
def test_training_that_needs_more_memory_than_is_free_is_refused_with_both_numbers_and_what_saves_most(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(memory_estimate, "available_memory_mb", lambda: 100.0)
    config = load_config(ROOT / "params.yaml", changes)
    with pytest.raises(TrainingError, match=f"{told} .*100 MB are free") as error:
        memory_estimate.require_memory(config)
    assert (error.value.kind, error.value.exit_code) == ("out_of_memory", 4)
