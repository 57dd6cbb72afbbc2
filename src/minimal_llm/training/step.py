"""A training step: forward pass, loss, backward pass, gradient clipping, optimizer update."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError
from minimal_llm.model.loss import Candidates, draw_candidates, linear_cross_entropy
from minimal_llm.model.seeds import derive_seed
from minimal_llm.model.transformer import Architecture, TinyTransformer, dropout_masks, random_bytes
from minimal_llm.tokenizer.token_files import TokenFiles
from minimal_llm.training.schedule import Schedule
from minimal_llm.training.team import Team

ADAM_BETAS = (0.9, 0.95)  # Touvron et al. 2023 (Llama): a short run needs a shorter memory than the usual 0.999
SUBSET_OTHERS = 1000  # candidates of the subset softmax beside the targets
ROUGH_SHARE = 0.9  # of the steps; the last ones see all of their inputs and compute the full softmax
UNKNOWN_ID = 0  # <unk> in every vocabulary of this project


class Engine:
    """Model, optimizer and schedule. The effect of a step depends only on their state, its number and its batch."""

    def __init__(
        self, architecture: Architecture, config: Config, compute: Compute, total_steps: int, team: Team | None = None
    ) -> None:
        train = config.train
        torch.manual_seed(derive_seed("weights", config.seed))
        self.model = TinyTransformer(architecture).to(compute.device)
        self.model.set_matmul_dtype(compute.matmul_dtype)
        self.model.activation_checkpointing = train.activation_checkpointing
        self.optimizer = make_optimizer(self.model, train.weight_decay)
        self._config = config
        self._compute = compute
        self._team = team or Team()
        self._loss = _Loss(self.model, compute)
        self._averaged_loss = self._team.averaging(self._loss)
        self.plan(total_steps)

    def plan(self, total_steps: int, joined_at: int = 0, joined_rate: float = 0.0) -> None:
        """Make the schedule one of so many steps; a run that extends another says where and how that one ended."""
        train = self._config.train
        self.schedule = Schedule(
            peak=train.learning_rate,
            warmup_steps=train.warmup_steps,
            total_steps=total_steps,
            floor_ratio=train.min_learning_rate_ratio,
            peak_dropout=train.dropout,
            dropout_rise_ratio=train.dropout_rise_ratio,
            joined_at=joined_at,
            joined_rate=joined_rate,
        )
        self._rough_steps = round(ROUGH_SHARE * total_steps)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take over the moments of another optimizer; decay and the like stay as configured."""
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["state"]})

    def step(self, number: int, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
        """Train on (B, T) inputs and targets; return the loss and the gradient norm before clipping."""
        loss = self.compute_gradients(number, inputs, targets)
        return loss, self.update_weights(number)

    def compute_gradients(self, number: int, inputs: Tensor, targets: Tensor) -> float:
        """Run the forward and backward pass of step `number` (from 0); return the loss. Only gradients change.

        The batch is computed in equal parts of its windows: each process has some, one after the other. The gradient is
        the mean over all parts, and so that of the whole batch, up to rounding. The loss is that of the own parts.
        """
        inputs, targets = inputs.to(self._compute.device), targets.to(self._compute.device)
        if number < self._rough_steps:
            inputs = mask_inputs(inputs, self._config.train.input_mask, derive_seed("mask", self._config.seed, number))
        candidates = self._candidates(number, targets.flatten())
        own = self._config.train.gradient_accumulation_steps
        windows = self._part_size(len(inputs), own * self._team.size)
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(own * self._team.rank, own * (self._team.rank + 1)):
            rows = slice(part * windows, (part + 1) * windows)
            masks = self._dropout_masks(number, part, inputs[rows].shape)
            chosen = candidates and candidates.of_windows(rows, inputs.shape[1])
            with self._exchanging(part == own * (self._team.rank + 1) - 1):
                loss = self._averaged_loss(inputs[rows], targets[rows].flatten(), masks, chosen) / own
                loss.backward()
            total += loss.item()
        return total

    def _part_size(self, windows: int, parts: int) -> int:
        """Return how many windows a part of a batch has. A tiny corpus can have too few for the configured batch."""
        if windows % parts:
            raise TrainingError(
                f"the corpus has {windows} windows, which cannot be divided into {parts} equal parts "
                "(processes x train.gradient_accumulation_steps)",
                remedy="use a larger corpus, or fewer processes: make train NPROC=1",
                kind="configuration",
            )
        return windows // parts

    def _dropout_masks(self, number: int, part: int, shape: torch.Size) -> Tensor | None:
        # A seed per step makes its dropout independent of everything before it, so a resumed run repeats it exactly.
        seed = derive_seed("dropout", self._config.seed, number, part)
        rate, dtype = self.schedule.dropout(number), self._compute.matmul_dtype
        return dropout_masks(self.model.architecture, shape, rate, seed, dtype, self._compute.device)

    def _exchanging(self, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients with the other processes in the backward pass of the last part only."""
        if isinstance(self._averaged_loss, DistributedDataParallel) and not last:
            return self._averaged_loss.no_sync()
        return nullcontext()

    def _candidates(self, number: int, targets: Tensor) -> Candidates | None:
        """Return the candidates of the softmax in step `number`, or None for the whole vocabulary."""
        if number >= self._rough_steps or self._config.train.softmax == "full":
            return None
        vocab_size = self.model.architecture.vocab_size
        seed = derive_seed("softmax", self._config.seed, number)
        drawn = draw_candidates(targets, vocab_size, SUBSET_OTHERS, seed)
        small = 2 * len(drawn.ids) <= vocab_size  # otherwise choosing the rows costs more than it saves
        return drawn if small or self._config.train.softmax == "subset" else None

    def update_weights(self, number: int) -> float:
        """Clip the gradients and update the weights, unless the gradients are not finite; return the norm before."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.train.gradient_clip)
        if torch.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.learning_rate(number)
            self.optimizer.step()
        return norm.item()


class _Loss(nn.Module):
    """The training loss as a module: DistributedDataParallel averages the gradients of what a forward() computes."""

    def __init__(self, model: TinyTransformer, compute: Compute) -> None:
        super().__init__()
        self.model = model
        self.hidden = model.hidden
        if compute.compiled:
            self.hidden = torch.compile(model.hidden, dynamic=False, fullgraph=True)
        self._dtype = compute.matmul_dtype

    def forward(self, inputs: Tensor, targets: Tensor, masks: Tensor | None, candidates: Candidates | None) -> Tensor:
        hidden = self.hidden(inputs, dropout=masks).flatten(0, 1)  # (B * T, C)
        return linear_cross_entropy(hidden, self.model.output_weight, targets, self._dtype, candidates)


def mask_inputs(inputs: Tensor, rate: float, seed: int) -> Tensor:
    """Return (B, T) inputs, each of which is <unk> with probability `rate` (rounded to a multiple of 1/256)."""
    if rate == 0:
        return inputs
    return inputs.masked_fill(random_bytes(inputs.shape, seed, inputs.device.type) < round(rate * 256), UNKNOWN_ID)


def architecture_of(config: Config, tokens: TokenFiles) -> Architecture:
    """Return the architecture for a configuration and the vocabulary of the token files."""
    return Architecture(
        vocab_size=tokens.meta.vocab_size, **config.model.model_dump(), max_seq_length=config.train.max_seq_length
    )


def make_optimizer(model: TinyTransformer, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) with weight decay on all matrices that are multiplied with.

    So an embedding is decayed if it is the output head as well.
    """
    lookup_only = None if model.head is None else model.embedding.weight
    decayed = [p for p in model.parameters() if p.dim() == 2 and p is not lookup_only]
    others = [p for p in model.parameters() if p.dim() < 2 or p is lookup_only]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=ADAM_BETAS, fused=True)


def copy_weights(model: TinyTransformer) -> dict[str, Tensor]:
    """Return a copy of the current weights, on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}
