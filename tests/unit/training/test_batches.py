from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from minimal_llm.common.errors import TrainingError
from minimal_llm.model.perplexity import evaluation_batches, training_sample
from minimal_llm.training import batches
from minimal_llm.training.batches import TrainingBatches, document_starts, permuted

TOKENS = np.arange(1000, dtype=np.uint16)


def test_targets_are_the_inputs_shifted_by_one_token() -> None:
    for inputs, targets in TrainingBatches(TOKENS, 4, 32, seed=1).epoch(0):
        assert inputs.shape == targets.shape == (4, 32)
        assert torch.equal(inputs + 1, targets)


def test_an_epoch_uses_no_token_twice() -> None:
    seen = torch.cat([targets.flatten() for _, targets in TrainingBatches(TOKENS, 4, 32, seed=1).epoch(3)])
    assert len(seen.unique()) == len(seen) > 0.8 * len(TOKENS)


def test_a_batch_depends_only_on_seed_epoch_and_step() -> None:
    whole = list(TrainingBatches(TOKENS, 4, 32, seed=1).epoch(2))
    rest = list(TrainingBatches(TOKENS, 4, 32, seed=1).epoch(2, first_step=3))
    assert all(
        torch.equal(a, b) for one, other in zip(whole[3:], rest, strict=True) for a, b in zip(one, other, strict=True)
    )
    for other in (TrainingBatches(TOKENS, 4, 32, seed=2).epoch(2), TrainingBatches(TOKENS, 4, 32, seed=1).epoch(1)):
        assert not torch.equal(next(iter(other))[0], whole[0][0])


def test_a_corpus_smaller_than_a_batch_is_a_single_batch() -> None:
    small = TrainingBatches(TOKENS[:200], 64, 32, seed=1)
    assert (small.steps, small.batch_size) == (1, 5)


def test_a_corpus_smaller_than_two_windows_is_refused_with_both_numbers() -> None:
    with pytest.raises(TrainingError, match=r"63 training tokens, but train.max_seq_length = 32 needs 64"):
        TrainingBatches(TOKENS[:63], 4, 32, seed=1)


@pytest.mark.parametrize("length", [2, 31, 32, 33, 64, 65, 500])
def test_evaluation_predicts_every_token_except_the_first_exactly_once_in_order(length: int) -> None:
    targets = torch.cat([t.flatten() for _, t in evaluation_batches(TOKENS[:length], 3, 32)])
    assert targets.tolist() == list(range(1, length))


def test_the_training_sample_is_spread_over_the_whole_text() -> None:
    sample = training_sample(TOKENS, 100, 10)
    assert len(sample) == 100
    assert sample.min() < 100
    assert sample.max() > 850


def stories(*lengths: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """Documents of so many tokens, each a 1, then the numbers from 10 on."""
    return np.concatenate([np.array([1, *range(10, 9 + length)], np.uint16) for length in lengths])


def test_windows_begin_with_the_document_that_the_one_before_cut_off() -> None:
    tokens = stories(10, 12, 20, 30, 100, 8, 8, 8)
    starts = document_starts(tokens, 32, document_start=1)
    # 10 + 12 tokens fit, the third story is cut; it begins the next window. The story of 100 is continued.
    assert starts[:5].tolist() == [0, 22, 42, 72, 104]
    assert [int(tokens[start]) for start in starts[:4]] == [1, 1, 1, 1]
    covered = {position for start in starts for position in range(start, start + 32)}
    assert set(range(starts[-1] + 32)) == covered


def test_epochs_from_document_starts_have_the_same_windows_in_another_order() -> None:
    whole = TrainingBatches(stories(*range(8, 48)), 1, 32, seed=1, document_start=1)
    first, second = ([inputs[0].tolist() for inputs, _ in whole.epoch(epoch)] for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second
    assert all(torch.equal(inputs[:, 1:], targets[:, :-1]) for inputs, targets in whole.epoch(0))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000, 1023, 1024, 1025, 100_003])
def test_a_computed_order_has_every_window_once(size: int) -> None:
    orders = [permuted(np.arange(size), size, keys=range(first, first + 6)) for first in (1, 7)]
    assert all(np.array_equal(np.sort(order), np.arange(size)) for order in orders)
    if size >= 1000:
        assert (orders[0] == orders[1]).mean() < 0.01
        # As of a shuffle: neighbors are a third of the range apart on average, and no place keeps its number.
        assert 0.3 < np.abs(np.diff(orders[0])).mean() / size < 0.37
        assert (orders[0] == np.arange(size)).mean() < 0.01


def test_beyond_a_number_of_windows_the_order_is_computed_and_keeps_all_promises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = next(iter(TrainingBatches(TOKENS, 4, 32, seed=1).epoch(0)))[0]
    monkeypatch.setattr(batches, "LISTED_WINDOWS", 10)
    assert not torch.equal(next(iter(TrainingBatches(TOKENS, 4, 32, seed=1).epoch(0)))[0], listed)
    test_an_epoch_uses_no_token_twice()
    test_a_batch_depends_only_on_seed_epoch_and_step()


class ManyTokens:
    """More tokens than 32 bits count. Each is its position, without the last 18 bits."""

    def __len__(self) -> int:
        return 2**34

    def __getitem__(self, positions: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        assert positions.min() >= 0
        return positions >> 18


def test_more_than_two_billion_tokens_are_reached() -> None:
    many = TrainingBatches(ManyTokens(), 128, 1024, seed=1)  # type: ignore[arg-type]
    inputs, targets = next(many.epoch(0))
    assert many.windows == 2**24 - 1
    assert inputs.max() > 2**31 >> 18
    assert (targets - inputs).max() <= 1
    assert len(inputs[:, 0].unique()) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise elsewhere")
def test_what_was_read_of_a_token_file_does_not_stay_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "train.bin").open("wb") as file:
        file.truncate(64_000_000)
    tokens = np.asarray(np.memmap(tmp_path / "train.bin", np.uint16, mode="r"))
    before = psutil.Process().memory_info().rss
    assert len(training_sample(tokens, 100_000, 10)) == 100_000
    for _ in TrainingBatches(tokens, 128, 2048, seed=1).epoch(0, first_step=100):
        pass
    for _ in evaluation_batches(tokens[:16_000_000], 128, 2048):
        pass
    assert psutil.Process().memory_info().rss - before < 32_000_000
