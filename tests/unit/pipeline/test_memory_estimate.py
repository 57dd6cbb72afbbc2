from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common import workers
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import TrainingError
from minimal_llm.corpus import text_files
from minimal_llm.model import loss, perplexity, transformer
from minimal_llm.pipeline import memory_estimate
from minimal_llm.validation import exports
from tests.support.stages import ROOT

LARGEST = {
    "model.layers": 12,
    "model.d_model": 512,
    "model.feed_forward": 2048,
    "tokenizer.vocab_size": 32_000,
    "train.batch_size": 4,
    "train.max_seq_length": 512,
}
# Measured (VmHWM, MB): two threads of an EPYC with AVX512-BF16, an epoch of a small corpus, with a head of its own
PEAKS: list[tuple[int, dict[str, Any]]] = [
    (676, {}),
    (651, {"train.precision": "fp32"}),
    (602, {"train.batch_size": 8}),
    (607, {"train.batch_size": 1}),
    (953, {"train.batch_size": 128}),
    (1140, {"train.batch_size": 128, "train.precision": "fp32"}),
    (1118, {"tokenizer.vocab_size": 32_000}),
    (770, {"tokenizer.vocab_size": 32_000, "train.batch_size": 1, "train.max_seq_length": 32}),
    (1029, {"model.layers": 12}),
    (1382, {"train.batch_size": 64, "train.max_seq_length": 512}),
    (1527, {"train.batch_size": 64, "train.max_seq_length": 256, "model.heads": 16}),
    (1304, {"train.batch_size": 1, "train.max_seq_length": 2048, "model.d_model": 512, "model.feed_forward": 2048}),
    (1976, {"train.batch_size": 8, "tokenizer.vocab_size": 32_000, "model.d_model": 512, "model.heads": 8}),
    (2794, {"train.batch_size": 128, "model.layers": 6, "model.d_model": 256, "model.feed_forward": 512}),
    (4855, LARGEST),
    (6405, LARGEST | {"train.precision": "fp32"}),
]


@pytest.mark.parametrize(("measured", "changes"), PEAKS)
def test_the_estimate_covers_the_peaks_that_were_measured_and_is_not_far_above(
    monkeypatch: pytest.MonkeyPatch, measured: float, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(memory_estimate, "has_bf16_flags", lambda: True)
    config = load_config(ROOT / "params.yaml", {"model.tie_embeddings": False, **changes})
    assert measured <= memory_estimate.training_memory_mb(config, 70_000) <= 1.4 * measured


def test_the_estimate_knows_what_the_stages_do() -> None:
    assert memory_estimate.CHUNK_ROWS == loss.CHUNK_ROWS
    assert memory_estimate.LONGEST_PLAIN_ATTENTION == transformer.LONGEST_PLAIN_ATTENTION
    assert memory_estimate.EVALUATED_WINDOWS == perplexity.EVALUATION_WINDOWS
    assert memory_estimate.EVALUATED_TOKENS == perplexity.EVALUATION_TOKENS
    assert memory_estimate.DECODED_WINDOWS == exports.BATCH
    assert memory_estimate.DECODED_TOKENS == exports.TOKENS
    assert memory_estimate.PART_MB * 1e6 == text_files.PART_BYTES


@pytest.mark.parametrize(
    ("megabytes", "stage", "measured"),
    [(97, "download", 315), (97, "tokenizer", 438), (10.5, "download", 190), (10.5, "tokenizer", 304)],
)
def test_a_corpus_of_ones_own_counts_up_to_the_size_of_the_sample(
    tmp_path: Path, megabytes: float, stage: str, measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "physical_cores", lambda: 2)
    for number in range(14):
        with (tmp_path / f"{number}.txt").open("wb") as file:
            file.truncate(round(megabytes * 1e6 / 14))
    config = load_config(ROOT / "params.yaml", {"download.source": "files", "download.files": [str(tmp_path / "*")]})
    assert measured <= memory_estimate.stages_memory_mb(config)[stage] <= 1.4 * measured


@pytest.mark.parametrize(("epochs", "problem", "counted"), [(20, None, False), (40, None, True), (40, "none", False)])
def test_the_compiler_counts_only_where_it_compiles(
    monkeypatch: pytest.MonkeyPatch, epochs: int, problem: str | None, counted: bool
) -> None:
    monkeypatch.setattr(memory_estimate, "compiler_problem", lambda: problem)
    auto, never = (
        memory_estimate.training_memory_mb(
            load_config(ROOT / "params.yaml", {"train.epochs": epochs, "train.compile": compile_})
        )
        for compile_ in ("auto", "never")
    )
    assert auto - never == pytest.approx(memory_estimate.COMPILER_MB if counted else 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, r"reduce train\.batch_size from 32 to 16"),
        ({"train.batch_size": 8, "train.compile": "always"}, r"set train\.compile to never"),
        ({"train.batch_size": 8}, r"reduce train\.batch_size from 8 to 4"),
        ({"train.batch_size": 1, "train.max_seq_length": 64}, r"reduce train\.max_seq_length from 64 to 32"),
    ],
)
def test_training_that_needs_more_memory_than_is_free_is_refused_with_both_numbers_and_what_saves_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(memory_estimate, "available_memory_mb", lambda: 100.0)
    monkeypatch.setattr(memory_estimate, "compiler_problem", lambda: None)
    config = load_config(ROOT / "params.yaml", changes)
    with pytest.raises(TrainingError, match=f"{told} .*100 MB are free") as error:
        memory_estimate.require_memory(config, tmp_path)
    assert (error.value.kind, error.value.exit_code) == ("out_of_memory", 4)
