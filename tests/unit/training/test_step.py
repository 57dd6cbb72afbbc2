from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import TrainingError
from minimal_llm.model.loss import CANDIDATES
from minimal_llm.model.transformer import Architecture
from minimal_llm.training.step import ROUGH_SHARE, SUBSET_OTHERS, UNKNOWN_ID, Engine, make_optimizer, mask_inputs
from tests.support.stages import ROOT

TOTAL_STEPS = 100


def engine_of(vocab_size: int, softmax: str, train: Mapping[str, Any] | None = None, **model: Any) -> Engine:
    changes = {f"train.{key}": value for key, value in (train or {}).items()}
    config: Config = load_config(ROOT / "params.yaml", {"train.softmax": softmax} | changes)
    shape = {"layers": 1, "d_model": 64, "heads": 2, "feed_forward": 128, "tie_embeddings": True} | model
    architecture = Architecture(vocab_size=vocab_size, **shape, max_seq_length=32)
    return Engine(architecture, config, Compute("cpu", "fp32", compiled=False, threads=1), TOTAL_STEPS)


def candidates(engine: Engine, number: int) -> int | None:
    """Return how many candidates the softmax has in a step; None for the whole vocabulary."""
    drawn = engine._candidates(number, torch.arange(50))
    return None if drawn is None else len(drawn.ids)


def test_a_large_vocabulary_gets_a_subset_until_the_last_steps() -> None:
    engine = engine_of(8000, "auto")
    last = round(ROUGH_SHARE * TOTAL_STEPS)
    assert candidates(engine, 0) == candidates(engine, last - 1) == -(-(50 + SUBSET_OTHERS) // CANDIDATES) * CANDIDATES
    assert candidates(engine, last) is None
    assert candidates(engine_of(8000, "full"), 0) is None


def test_a_small_vocabulary_gets_a_subset_only_if_told_so() -> None:
    assert candidates(engine_of(2000, "auto"), 0) is None
    assert candidates(engine_of(2000, "subset"), 0) == -(-(50 + SUBSET_OTHERS) // CANDIDATES) * CANDIDATES


def test_the_candidates_depend_on_the_seed_and_the_step_only() -> None:
    first, again = (engine_of(8000, "auto")._candidates(7, torch.arange(50)) for _ in range(2))
    other = engine_of(8000, "auto")._candidates(8, torch.arange(50))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_masked_inputs_are_hidden_at_the_given_rate_by_the_seed() -> None:
    inputs = torch.arange(1, 32 * 128 + 1).view(32, 128)
    first, again, other = (mask_inputs(inputs, 0.25, seed) for seed in (1, 1, 2))
    hidden = first == UNKNOWN_ID
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(hidden.float().mean().item() - 0.25) < 0.02
    assert torch.equal(first[~hidden], inputs[~hidden])
    assert torch.equal(mask_inputs(inputs, 0, 1), inputs)


def test_the_last_steps_see_all_of_their_inputs() -> None:
    engine, seen = engine_of(300, "auto"), []
    original = engine.model.hidden
    engine._loss.hidden = lambda inputs, dropout: seen.append(inputs) or original(inputs, dropout=dropout)  # type: ignore
    ids = torch.arange(33 * 8).view(8, 33)
    for number in (0, round(ROUGH_SHARE * TOTAL_STEPS)):
        engine.step(number, ids[:, :-1], ids[:, 1:])
    assert not torch.equal(seen[0], ids[:, :-1])
    assert torch.equal(seen[1], ids[:, :-1])


@pytest.mark.parametrize("softmax", ["full", "subset"])
def test_steps_lower_the_loss(softmax: str) -> None:
    engine = engine_of(2000, softmax)
    ids = torch.arange(33).repeat(4, 1)
    losses = [engine.step(number, ids[:, :-1], ids[:, 1:])[0] for number in range(50)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("tied", [True, False])
def test_every_matrix_that_is_multiplied_with_decays(tied: bool) -> None:
    model = engine_of(2000, "auto", tie_embeddings=tied).model
    decayed, others = (group["params"] for group in make_optimizer(model, 0.5).param_groups)
    assert any(p is model.output_weight for p in decayed)
    assert any(p is model.embedding.weight for p in others) != tied
    assert {id(p) for p in [*decayed, *others]} == {id(p) for p in model.parameters()}
    assert all(p.dim() == 2 for p in decayed)


def gradients(train: Mapping[str, Any], windows: int = 8, softmax: str = "subset") -> dict[str, torch.Tensor]:
    """Return the gradients of one step."""
    engine = engine_of(2000, softmax, train)
    ids = torch.randint(2000, (windows, 33), generator=torch.Generator().manual_seed(1))
    engine.compute_gradients(50, ids[:, :-1], ids[:, 1:])
    return {name: p.grad for name, p in engine.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("softmax", ["full", "subset"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(softmax: str) -> None:
    whole = gradients({"dropout": 0}, softmax=softmax)
    parts = gradients({"dropout": 0, "gradient_accumulation_steps": 4}, softmax=softmax)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-7)


def test_each_part_of_a_batch_has_dropout_of_its_own() -> None:
    engine = engine_of(2000, "auto", {"dropout": 0.5})
    first, second = (engine._dropout_masks(99, part, torch.Size((2, 32))) for part in (0, 1))
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)


def test_activation_checkpointing_changes_no_gradient() -> None:
    kept, recomputed = (gradients({"dropout": 0.5, "activation_checkpointing": on}) for on in (False, True))
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_a_batch_that_cannot_be_divided_into_parts_is_refused() -> None:
    with pytest.raises(TrainingError, match="the corpus has 6 windows, which cannot be divided into 4 equal parts"):
        gradients({"gradient_accumulation_steps": 4}, windows=6)
