from __future__ import annotations

from typing import Any

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.common.errors import TrainingError
from minimal_llm.pipeline import memory_estimate
from tests.support.stages import ROOT


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
