"""n-gram baselines: distributions that sum to one, the formula by hand, and losses that fall with the order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minimal_llm.model.ngrams import ORDERS, NGrams

SIZE = 20
TEXT = np.random.default_rng(0).integers(0, 12, 500).astype(np.uint16)  # the others of the vocabulary never occur


@pytest.mark.parametrize("order", range(len(ORDERS) + 1))
@pytest.mark.parametrize("context", [[1, 2, 3], [15, 1, 2], [1, 15, 2], [1, 2, 15], [15, 16, 17]])
def test_the_probabilities_of_all_tokens_after_a_context_sum_to_one(order: int, context: list[int]) -> None:
    counts = NGrams(TEXT, SIZE)
    after = [counts.probabilities([*context, token], order)[-1] for token in range(SIZE)]
    assert sum(after) == pytest.approx(1)
    assert min(after) > 0


def test_order_zero_is_a_uniform_guess_and_order_one_goes_by_frequency() -> None:
    counts = NGrams([7, 7, 7, 7, 7, 7, 3, 3, 3, 9], SIZE)
    assert counts.loss([1, 2, 3], order=0) == pytest.approx(math.log(SIZE))
    # One token occurs once and none twice, so the discount is 1: three are freed, for every token a twentieth.
    assert counts.probabilities([0, 7, 3, 9, 5], order=1) == pytest.approx([0.515, 0.215, 0.015, 0.015])


def test_a_bigram_is_discounted_and_its_shorter_context_counts_different_tokens_before() -> None:
    # 1 2 three times, 2 1 three times, 1 3 twice, 3 1 and 3 4 once: n1 = 2 and n2 = 1, so the discount is 1/2.
    counts = NGrams([1, 2, 1, 2, 1, 2, 1, 3, 1, 3, 4], 10)
    # Different tokens before: two of 1, one of 2, 3 and 4, five in all. n1 = 3 and n2 = 1: the discount is 3/5.
    four = (1 - 0.6) / 5 + 0.6 * 4 / 5 / 10
    assert counts.probabilities([3, 4], order=2) == pytest.approx([(1 - 0.5) / 2 + 0.5 * 2 / 2 * four])
    assert counts.probabilities([1, 4], order=2) == pytest.approx([0.5 * 2 / 5 * four])
    assert counts.probabilities([9, 4], order=2) == pytest.approx([four])  # an unseen context says nothing


def test_more_context_lowers_the_loss_on_text_that_has_structure() -> None:
    text = np.tile(np.array([1, 2, 3, 1, 4, 5], np.uint16), 50)
    losses = [NGrams(text, SIZE).loss(text[:60], order) for order in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[3] < 0.1 < losses[2]


def test_a_text_in_which_every_token_is_frequent_leaves_something_for_the_others() -> None:
    assert np.isfinite(NGrams([1, 2, 1, 2, 1, 2, 1, 2], SIZE).loss([1, 9, 2], order=3))


def test_an_order_whose_ngrams_cannot_be_numbered_is_refused() -> None:
    with pytest.raises(ValueError, match="order 5 is too high for a vocabulary of 8,000 entries"):
        NGrams(TEXT, 8000).loss(TEXT, order=5)
