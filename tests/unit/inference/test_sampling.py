"""Every sampling setting, compared with exact probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.inference.sampling import Logits, Sampler, Sampling, top_k_ids

OFF = {"temperature": 1.0, "top_k": 0}
DRAWS = 4000


def logits_of(*probabilities: float) -> Logits:
    return np.log(np.array(probabilities, dtype=np.float32))


def frequencies(logits: Logits, sampling: Sampling, seen: list[int] | None = None) -> list[float]:
    """Return how often each token is drawn."""
    sampler = Sampler(sampling)
    drawn = [sampler.choose(logits, seen or []) for _ in range(DRAWS)]
    return [drawn.count(token) / DRAWS for token in range(len(logits))]


def close_to(*expected: float) -> object:
    return pytest.approx(expected, abs=0.03)


LOGITS = logits_of(0.1, 0.5, 0.15, 0.25)


def test_without_any_setting_tokens_are_drawn_with_their_probabilities() -> None:
    assert frequencies(LOGITS, Sampling(**OFF)) == close_to(0.1, 0.5, 0.15, 0.25)


def test_temperature_sharpens_or_flattens_the_distribution() -> None:
    for temperature in (0.5, 2.0):
        powers = np.array([0.1, 0.5, 0.15, 0.25]) ** (1 / temperature)
        expected = powers / powers.sum()
        assert frequencies(LOGITS, Sampling(temperature=temperature, top_k=0)) == close_to(*expected)


def test_temperature_zero_takes_the_most_likely_token_and_the_first_of_a_tie() -> None:
    assert frequencies(logits_of(0.2, 0.4, 0.4), Sampling(temperature=0)) == [0, 1, 0]


def test_top_k_keeps_the_most_likely_tokens() -> None:
    assert frequencies(LOGITS, Sampling(temperature=1, top_k=2)) == close_to(0, 2 / 3, 0, 1 / 3)
    assert frequencies(LOGITS, Sampling(temperature=1, top_k=1)) == [0, 1, 0, 0]
    assert frequencies(LOGITS, Sampling(temperature=1, top_k=99)) == close_to(0.1, 0.5, 0.15, 0.25)


@pytest.mark.parametrize("size", [8000, 8013])
@pytest.mark.parametrize("count", [1, 40, 200, 250, 8000, 9000, 0])
def test_top_k_ids_equal_those_of_a_full_sort(size: int, count: int) -> None:
    logits = np.random.default_rng(size + count).normal(size=size).astype(np.float32).round(2)  # with many ties
    expected = sorted(range(size), key=lambda token: (-logits[token], token))
    assert top_k_ids(logits, count).tolist() == (expected[:count] if count else expected)


def test_top_p_keeps_the_smallest_set_with_that_probability() -> None:
    assert frequencies(LOGITS, Sampling(**OFF, top_p=0.7)) == close_to(0, 2 / 3, 0, 1 / 3)
    assert frequencies(LOGITS, Sampling(**OFF, top_p=0.8)) == close_to(0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9)
    assert frequencies(LOGITS, Sampling(**OFF, top_p=0.0)) == [0, 1, 0, 0]


def test_min_p_keeps_tokens_close_enough_to_the_most_likely_one() -> None:
    assert frequencies(LOGITS, Sampling(**OFF, min_p=0.4)) == close_to(0, 2 / 3, 0, 1 / 3)
    assert frequencies(LOGITS, Sampling(**OFF, min_p=1.0)) == [0, 1, 0, 0]


def test_the_repeat_penalty_divides_positive_logits_and_multiplies_negative_ones() -> None:
    logits = np.array([2.0, -1.0, 0.5], dtype=np.float32)
    expected = np.exp([1.0, -2.0, 0.5])
    sampling = Sampling(**OFF, repeat_penalty=2.0)
    assert frequencies(logits, sampling, seen=[0, 1, 1]) == close_to(*(expected / expected.sum()))
    assert logits.tolist() == [2.0, -1.0, 0.5]  # the logits of the model are not changed


def test_the_repeat_penalty_ignores_tokens_that_are_not_recent() -> None:
    logits = np.array([2.0, 1.0, 0.0], dtype=np.float32)
    for last_n, expected in ((2, 0), (3, 1), (0, 0)):
        sampling = Sampling(temperature=0, repeat_penalty=3.0, repeat_last_n=last_n)
        assert Sampler(sampling).choose(logits, [0, 2, 2]) == expected


def test_seed_and_stream_determine_the_tokens() -> None:
    def drawn(seed: int, stream: int) -> list[int]:
        sampler = Sampler(Sampling(**OFF, seed=seed), stream)
        return [sampler.choose(LOGITS, []) for _ in range(50)]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_k", -1), ("top_p", 1.1), ("min_p", -1), ("seed", -5)],
)
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} = "):
        Sampling(**{name: value})
