from __future__ import annotations

from itertools import islice

import pytest
import torch

from minimal_llm.generation import Sampling, choose, stream_tokens
from minimal_llm.model import Architecture, TinyTransformer

SMALL = Architecture(vocab_size=50, layers=2, d_model=64, heads=4, feed_forward=128, max_seq_length=16)


@pytest.fixture
def model() -> TinyTransformer:
    torch.manual_seed(0)
    model = TinyTransformer(SMALL).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)  # far from uniform, so that a wrong position changes the choice
    return model


def test_greedy_text_is_that_of_a_full_computation_also_past_the_context(model: TinyTransformer) -> None:
    produced = list(islice(stream_tokens(model, [1, 2, 3], Sampling(temperature=0)), 60))
    seen = [1, 2, 3]
    with torch.no_grad():
        for token in produced:
            if len(seen) > 16:
                seen = seen[-8:]
            assert token == int(model(torch.tensor([seen]))[0].argmax())
            seen.append(token)


def test_a_seed_gives_one_text_and_another_seed_another(model: TinyTransformer) -> None:
    first, again, other = (list(islice(stream_tokens(model, [1], Sampling(seed=s)), 30)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_prompt_longer_than_the_context_keeps_its_end(model: TinyTransformer) -> None:
    prompt = list(range(40))
    long = list(islice(stream_tokens(model, prompt, Sampling(seed=3)), 5))
    assert long == list(islice(stream_tokens(model, prompt[-16:], Sampling(seed=3)), 5))


def test_top_k_draws_from_the_likeliest_in_their_proportions() -> None:
    logits = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25]))
    generator = torch.Generator().manual_seed(0)
    drawn = [choose(logits, Sampling(temperature=1, top_k=2), generator) for _ in range(3000)]
    assert set(drawn) == {1, 3}
    assert drawn.count(1) / len(drawn) == pytest.approx(2 / 3, abs=0.03)


def test_a_low_temperature_sharpens_the_choice() -> None:
    logits = torch.log(torch.tensor([0.4, 0.6]))
    generator = torch.Generator().manual_seed(0)
    drawn = [choose(logits, Sampling(temperature=0.25, top_k=0), generator) for _ in range(3000)]
    assert drawn.count(1) / len(drawn) == pytest.approx(0.6**4 / (0.6**4 + 0.4**4), abs=0.03)
