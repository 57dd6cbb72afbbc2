from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from minimal_llm.model.loss import CHUNK_ROWS, linear_cross_entropy, summed_cross_entropy


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


def test_a_target_with_underflowing_probability_gives_a_large_but_finite_loss() -> None:
    hidden, weight = torch.full((1, 64), 50.0).requires_grad_(), torch.ones(300, 64)
    weight[3] = -1.0
    loss = linear_cross_entropy(hidden, weight.requires_grad_(), torch.tensor([3]), torch.bfloat16)
    assert 80 < loss.item() < 100
