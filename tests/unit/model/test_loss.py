from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from minimal_llm.model.loss import CANDIDATES, CHUNK_ROWS, draw_candidates, linear_cross_entropy, summed_cross_entropy


def inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 64, generator=generator).requires_grad_()
    weight = (0.2 * torch.randn(300, 64, generator=generator)).requires_grad_()
    return hidden, weight, torch.randint(300, (rows,), generator=generator)


@pytest.mark.parametrize("rows", [1, 7, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS - 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_loss_and_gradients_equal_those_of_a_straightforward_implementation(
    rows: int, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, weight, targets = inputs(rows)
    plain = F.cross_entropy(hidden @ weight.t(), targets)
    expected = torch.autograd.grad(plain, (hidden, weight))
    loss = linear_cross_entropy(hidden, weight, targets, dtype)
    # with a factor, like a caller that scales the loss
    gradients = torch.autograd.grad(3 * loss, (hidden, weight))
    assert loss.item() == pytest.approx(plain.item(), rel=tolerance)
    for got, want in zip(gradients, expected, strict=True):
        assert (got / 3 - want).norm() <= tolerance * want.norm()
        assert got.dtype == torch.float32


@pytest.mark.parametrize("rows", [1, CHUNK_ROWS + 3])
def test_the_summed_loss_equals_that_of_a_straightforward_implementation(rows: int) -> None:
    hidden, weight, targets = inputs(rows)
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum").item()
    assert summed_cross_entropy(hidden, weight, targets, torch.float32) == pytest.approx(plain, rel=1e-5)


def test_candidates_are_the_targets_and_others_drawn_once_each_by_the_seed() -> None:
    targets = torch.tensor([5, 3, 5, 90])
    drawn, again, other = (draw_candidates(targets, 1000, 20, seed) for seed in (1, 1, 2))
    assert torch.equal(drawn.ids, again.ids)
    assert not torch.equal(drawn.ids, other.ids)
    assert torch.equal(drawn.ids[drawn.targets], targets)
    assert len(set(drawn.ids.tolist())) == CANDIDATES
    assert drawn.shift[:3].tolist() == [0, 0, 0]
    assert drawn.shift[3:].exp().sum().item() == pytest.approx(997, rel=1e-5)


def test_with_all_others_the_loss_and_its_gradients_are_the_full_ones() -> None:
    hidden, weight, targets = inputs(50)
    full = linear_cross_entropy(hidden, weight, targets, torch.float32)
    subset = linear_cross_entropy(hidden, weight, targets, torch.float32, draw_candidates(targets, 300, 300, seed=1))
    assert subset.item() == pytest.approx(full.item(), rel=1e-6)
    for got, want in zip(*(torch.autograd.grad(loss, (hidden, weight)) for loss in (subset, full)), strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)


def test_the_mean_gradient_over_many_draws_is_near_the_full_one() -> None:
    hidden, _, targets = inputs(20)
    weight = 0.2 * torch.randn(1500, 64, generator=torch.Generator().manual_seed(0))
    want = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, torch.float32), hidden)[0]
    drawn = [draw_candidates(targets, 1500, 100, seed) for seed in range(60)]
    assert len(drawn[0].ids) == CANDIDATES
    losses = [linear_cross_entropy(hidden, weight, targets, torch.float32, one) for one in drawn]
    got = torch.stack([torch.autograd.grad(loss, hidden)[0] for loss in losses]).mean(0)
    assert (got - want).norm() < 0.05 * want.norm()


def test_a_vocabulary_of_targets_only_has_no_others() -> None:
    drawn = draw_candidates(torch.arange(10), 10, 5, seed=0)
    assert drawn.ids.tolist() == list(range(10))


def test_a_target_with_underflowing_probability_gives_a_large_but_finite_loss() -> None:
    hidden, weight = torch.full((1, 64), 50.0).requires_grad_(), torch.ones(300, 64)
    weight[3] = -1.0
    loss = linear_cross_entropy(hidden, weight.requires_grad_(), torch.tensor([3]), torch.bfloat16)
    assert 80 < loss.item() < 100
