"""Output head and cross-entropy, fused so that the logits of a whole batch never exist in memory.

The head may be computed for candidates only: the batch's targets, and others drawn at random (draw_candidates).

With the default parameters, the logits of a batch are 4096 x 8000 numbers, 131 MB in fp32. The straightforward
implementation reads them four times and keeps two copies for the backward pass. This one computes loss and gradients
together, one chunk of rows at a time, while the chunk is in the CPU cache. That works because the gradient of the loss
with respect to the logits of a row is softmax(logits) - onehot(target), which does not depend on other rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ROWS = 1024  # 16 MB of bf16 logits for a vocabulary of 8000; fastest of 128 ... 2048 on 2 cores with 32 MB of L3
CANDIDATES = 512
SMALLEST_PROBABILITY = torch.finfo(torch.float32).tiny  # its log is -87.3, while the log of an underflow to 0 is -inf


@dataclass(frozen=True)
class Candidates:
    """The vocabulary entries that a loss is computed over, instead of all of them: `ids`, (M,).

    `targets`, (N,), are the batch's targets as positions in `ids`; `shift`, (M,), is added to the logits.
    """

    ids: Tensor
    targets: Tensor
    shift: Tensor

    def of_windows(self, windows: slice, length: int) -> Candidates:
        """Return the candidates for the targets of some of a batch's windows, of `length` tokens each."""
        return replace(self, targets=self.targets[windows.start * length : windows.stop * length])


def draw_candidates(targets: Tensor, vocab_size: int, others: int, seed: int) -> Candidates:
    """Return the different ones of (N,) targets, and at least `others` other entries drawn uniformly, none twice.

    The others stand for all that are not targets: adding ln(number of those / number drawn) to their logits counts each
    of them so many times, which makes the sum of exponentials under the softmax an unbiased estimate of the full one
    (Jean et al. 2015, section 3, with a uniform proposal). All of them are taken if there are fewer.

    The number of candidates is a multiple of CANDIDATES: buffers that differ a little in every step would leave holes
    in the heap that none of the next ones fits into, and take twice the memory.
    """
    unique, positions = torch.unique(targets, return_inverse=True)
    is_other = torch.ones(vocab_size, dtype=torch.bool, device=targets.device)
    is_other[unique] = False
    rest = is_other.nonzero().flatten()
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed)).to(targets.device)
    drawn = rest[order[: others + -(len(unique) + others) % CANDIDATES]]
    shift = torch.zeros(len(unique) + len(drawn), device=targets.device)
    if len(drawn):
        shift[len(unique) :] = math.log(len(rest) / len(drawn))
    return Candidates(torch.cat([unique, drawn]), positions, shift)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, candidates: Candidates | None = None
) -> Tensor:
    """Return the mean of -log softmax(hidden @ weight.T)[target] over all positions, a scalar in nats per token.

    Args:
        hidden: (N, C) hidden states after the final norm.
        weight: (V, C) weights of the output head, one row per vocabulary entry.
        targets: (N,) ids of the next tokens.
        dtype: data type of the matmuls; the loss and the gradient of `weight` are accumulated in fp32.
        candidates: computes an estimate, over these entries only.
    """
    shift = None
    if candidates is not None:
        weight, targets, shift = weight.index_select(0, candidates.ids), candidates.targets, candidates.shift
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, shift, dtype)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    """Return the sum (not the mean) of the same loss in nats, without gradients: for evaluation.

    It is accumulated in double precision, so that the result does not depend on the batch size.
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
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, shift: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        rows_total, vocab_size = len(targets), len(weight)
        hidden_cast, weight_cast = hidden.to(dtype), weight.to(dtype)
        grad_hidden = torch.empty_like(hidden_cast)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # A single buffer for all chunks, overwritten in place from logits to gradient: a new one per chunk would cost
        # a page fault for every 4 KB, and a second one would evict the first from the cache.
        buffer = hidden_cast.new_empty(min(CHUNK_ROWS, rows_total), vocab_size)
        row_numbers = torch.arange(CHUNK_ROWS, device=hidden.device)
        for start in range(0, rows_total, CHUNK_ROWS):
            chunk = hidden_cast[start : start + CHUNK_ROWS]
            rows = len(chunk)
            at_target = (row_numbers[:rows], targets[start : start + rows])
            logits = torch.mm(chunk, weight_cast.t(), out=buffer[:rows])
            if shift is not None:
                logits += shift
            probabilities = torch.softmax(logits, dim=-1, out=logits)  # safe: a row is read before it is written
            target_probability = probabilities[at_target]  # (rows,)
            loss -= _log(target_probability).sum()
            # index_put_, because scatter_ copies the whole bf16 buffer twice, which takes 10 % of a training step.
            grad_logits = probabilities.index_put_(at_target, target_probability - 1)
            torch.mm(grad_logits, weight_cast, out=grad_hidden[start : start + rows])
            grad_weight += grad_logits.t() @ chunk
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.scale = 1.0 / rows_total
        ctx.hidden_dtype = hidden.dtype
        return loss / rows_total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_loss * ctx.scale
        return (grad_hidden * scale).to(ctx.hidden_dtype), grad_weight * scale, None, None, None
