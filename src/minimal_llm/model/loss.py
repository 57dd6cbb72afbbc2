"""Cross-entropy over a large vocabulary without ever holding the logits of a whole batch.

At the defaults the logits of a batch are 4096 x 8000 numbers, 131 MB in fp32, and the plain program makes four
passes over them and keeps two copies for the backward pass. Here a chunk of rows goes through all of it, forward and
backward, while it is in the CPU's cache: for one row the gradient of the loss with respect to its logits is
softmax(logits) - onehot(target), which needs nothing from the other rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ROWS = 1024  # 16 MB of bf16 logits at 8000 pieces: measured best of 128 ... 2048 on 2 cores with 32 MB of L3
SMALLEST_PROBABILITY = torch.finfo(torch.float32).tiny  # log of it is -87.3; of an underflow to zero it is -inf


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mean over all positions of -log softmax(hidden @ weight.T)[target], a scalar in nats.

    Args:
        hidden: (N, C) last hidden states, after the final norm.
        weight: (V, C) of the output head, one row a piece of the vocabulary.
        targets: (N,) ids of the pieces that come next.
        dtype: of the matrix products; the loss and the gradient of `weight` are accumulated in fp32.
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, dtype)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    """Return the sum (not the mean) of the same loss without gradients: for evaluation.

    The sum is taken in double precision, so that it does not depend on how the positions were batched.
    """
    total = 0.0
    hidden_cast, weight_cast = hidden.to(dtype), weight.to(dtype)
    for start in range(0, len(targets), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        logits = hidden_cast[rows] @ weight_cast.t()  # (rows, V)
        probabilities = torch.softmax(logits, dim=-1, out=logits)
        chosen = probabilities.gather(1, targets[rows].unsqueeze(1))  # (rows, 1)
        total -= _log(chosen).sum(dtype=torch.float64).item()
    return total


def _log(probability: Tensor) -> Tensor:
    return probability.float().clamp_min(SMALLEST_PROBABILITY).log()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        rows_total, vocabulary = len(targets), len(weight)
        hidden_cast, weight_cast = hidden.to(dtype), weight.to(dtype)
        grad_hidden = torch.empty_like(hidden_cast)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # One buffer for all chunks, from logits to their gradient: a fresh one each would cost a page fault for every
        # 4 KB of it, and a second one would push the first out of the cache.
        buffer = hidden_cast.new_empty(min(CHUNK_ROWS, rows_total), vocabulary)
        row_numbers = torch.arange(CHUNK_ROWS, device=hidden.device)
        for start in range(0, rows_total, CHUNK_ROWS):
            chunk = hidden_cast[start : start + CHUNK_ROWS]
            rows = len(chunk)
            at_target = (row_numbers[:rows], targets[start : start + rows])
            logits = torch.mm(chunk, weight_cast.t(), out=buffer[:rows])
            probabilities = torch.softmax(logits, dim=-1, out=logits)  # a row is read before it is written
            target_probability = probabilities[at_target]  # (rows,)
            loss -= _log(target_probability).sum()
            # By index: scatter_ would copy the whole bf16 buffer there and back, a tenth of a training step.
            grad_logits = probabilities.index_put_(at_target, target_probability - 1)
            torch.mm(grad_logits, weight_cast, out=grad_hidden[start : start + rows])
            grad_weight += grad_logits.t() @ chunk
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.scale = 1.0 / rows_total
        ctx.hidden_dtype = hidden.dtype
        return loss / rows_total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_loss * ctx.scale
        return (grad_hidden * scale).to(ctx.hidden_dtype), grad_weight * scale, None, None
