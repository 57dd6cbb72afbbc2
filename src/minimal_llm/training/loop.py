"""Training: read top to bottom, this is all that happens between token files and a model."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from minimal_llm.config import Config
from minimal_llm.dataset import TrainingBatches, derive_seed
from minimal_llm.errors import Interrupted, TrainingError
from minimal_llm.evaluation import evaluate_spans, total
from minimal_llm.generation import Sampling, generate
from minimal_llm.hardware import Compute
from minimal_llm.loss import linear_cross_entropy
from minimal_llm.model import Architecture, TinyTransformer
from minimal_llm.token_files import TokenFiles
from minimal_llm.tokenizer import Tokenizer
from minimal_llm.training.checkpoint import Checkpoints, Progress, State
from minimal_llm.training.schedule import Schedule

SAMPLE_PROMPTS = {"en": "Once upon a time", "es": "Había una vez"}
SAMPLE_TOKENS = 40
ADAM_BETAS = (0.9, 0.95)  # Touvron et al. 2023 (Llama): a shorter memory than 0.999 suits a short run


class Trainer:
    """One run. `run()` takes it from where `progress` stands to the last epoch."""

    def __init__(
        self, config: Config, tokens: TokenFiles, tokenizer: Tokenizer, compute: Compute, checkpoints: Checkpoints
    ) -> None:
        train = config.train
        torch.manual_seed(derive_seed("weights", config.seed))
        self.model = TinyTransformer(
            Architecture(
                vocab_size=tokens.meta.vocab_size,
                layers=config.model.layers,
                d_model=config.model.d_model,
                heads=config.model.heads,
                feed_forward=config.model.feed_forward,
                max_seq_length=train.max_seq_length,
            ),
            train.dropout,
        )
        self.model.set_product_dtype(compute.product_dtype)
        self.optimizer = make_optimizer(self.model, train.weight_decay)
        self.batches = TrainingBatches(tokens.train, train.batch_size, train.max_seq_length, config.seed)
        self.schedule = Schedule(
            peak=train.learning_rate,
            warmup_steps=train.warmup_steps,
            total_steps=train.epochs * self.batches.steps,
            floor_ratio=train.min_learning_rate_ratio,
        )
        self.progress = Progress()
        self.best_weights = copy_weights(self.model)
        self._config = config
        self._tokens = tokens
        self._tokenizer = tokenizer
        self._dtype = compute.product_dtype
        self._checkpoints = checkpoints

    @property
    def global_step(self) -> int:
        """Steps done since the start of the run."""
        return self.progress.epoch * self.batches.steps + self.progress.step

    def resume(self) -> bool:
        """Go back to the newest checkpoint of this run; return whether there was one."""
        state = self._checkpoints.newest()
        if state is None:
            return False
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.progress, self.best_weights = state.progress, state.best_weights
        return True

    def run(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: SIGINT or SIGTERM came; a checkpoint of that very step is written.
            TrainingError: the loss is no longer a finite number, or a checkpoint cannot be written.
        """
        with catch_signals() as stop:
            while self.progress.epoch < self._config.train.epochs:
                self._train_epoch(stop)
                self._close_epoch()
                if stop.requested:
                    self._interrupt()

    def _train_epoch(self, stop: StopRequest) -> None:
        progress = self.progress
        bar = tqdm(
            total=self.batches.steps,
            initial=progress.step,
            desc=f"epoch {progress.epoch + 1}/{self._config.train.epochs}",
            unit="step",
            leave=False,
            disable=None,  # no bar where stderr is not a terminal
        )
        started = time.monotonic()
        self.model.train()
        with bar:
            for inputs, targets in self.batches.epoch(progress.epoch, progress.step):
                loss, gradient_norm = self._train_step(inputs, targets)
                progress.loss_sum += loss
                progress.gradient_norm_sum += gradient_norm
                progress.step += 1
                bar.update()
                if stop.requested:
                    progress.seconds_this_epoch += time.monotonic() - started
                    self._interrupt()
        progress.seconds_this_epoch += time.monotonic() - started

    def _train_step(self, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
        """Return loss and gradient norm of one step on (B, T) inputs and targets."""
        learning_rate = self.schedule.learning_rate(self.global_step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        # Dropout draws from this seed, so that a step is the same whatever happened before it.
        torch.manual_seed(derive_seed("dropout", self._config.seed, self.global_step))
        hidden = self.model.hidden(inputs).flatten(0, 1)  # (B * T, C)
        loss = linear_cross_entropy(hidden, self.model.head.weight, targets.flatten(), self._dtype)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.train.gradient_clip)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            self._diverged(loss.item(), norm.item(), learning_rate)
        self.optimizer.step()
        return loss.item(), norm.item()

    def _close_epoch(self) -> None:
        """Evaluate, sample, record, print and save at the end of an epoch."""
        progress, steps = self.progress, self.batches.steps
        started = time.monotonic()
        validation = total(evaluate_spans(self.model, self._tokens.val, self._tokens.meta.val, self._dtype))
        if validation.loss < progress.best_val_loss:
            progress.best_epoch, progress.best_val_loss = progress.epoch + 1, validation.loss
            self.best_weights = copy_weights(self.model)
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / steps,
            "val_loss": validation.loss,
            "learning_rate": self.schedule.learning_rate(self.global_step - 1),
            "gradient_norm": progress.gradient_norm_sum / steps,
            "samples": self._samples(),
        }
        speed = {
            "epoch": progress.epoch + 1,
            "train_seconds": progress.seconds_this_epoch,
            "evaluation_seconds": time.monotonic() - started,
            "tokens_per_s": steps * self.batches.tokens_per_step / max(progress.seconds_this_epoch, 1e-9),
        }
        self.progress = Progress(
            epoch=progress.epoch + 1,
            history=[*progress.history, row],
            speed=[*progress.speed, speed],
            best_epoch=progress.best_epoch,
            best_val_loss=progress.best_val_loss,
        )
        self._print_epoch(row, speed)
        self._save()

    def _samples(self) -> dict[str, str]:
        self.model.eval()
        sampling = Sampling(seed=derive_seed("samples", self._config.seed, self.progress.epoch))
        return {
            language: prompt + generate(self.model, self._tokenizer, prompt, SAMPLE_TOKENS, sampling)
            for language, prompt in SAMPLE_PROMPTS.items()
        }

    def _print_epoch(self, row: dict[str, Any], speed: dict[str, float]) -> None:
        best = " *" if row["epoch"] == self.progress.best_epoch else ""
        print(
            f"epoch {row['epoch']:>3}/{self._config.train.epochs}  train {row['train_loss']:.3f}"
            f"  val {row['val_loss']:.3f}{best:2}  lr {row['learning_rate']:.2e}  |g| {row['gradient_norm']:.2f}"
            f"  {speed['tokens_per_s']:,.0f} tokens/s"
            f"  {speed['train_seconds'] + speed['evaluation_seconds']:.0f} s"
        )
        for language, text in row["samples"].items():
            print(f"    {language}  {' '.join(text.split())}")
        sys.stdout.flush()

    def _save(self) -> None:
        state = State(self.progress, self.model.state_dict(), self.optimizer.state_dict(), self.best_weights)
        self._checkpoints.save(state, self.global_step)
        every = self._config.train.checkpoint_every_epochs
        self._checkpoints.prune({e * self.batches.steps for e in range(every, self.progress.epoch + 1, every)})

    def _interrupt(self) -> None:
        self._save()
        done = self.progress.epoch + self.progress.step / self.batches.steps
        raise Interrupted(
            f"stopped after {done:.2f} of {self._config.train.epochs} epochs; everything up to there is saved",
            remedy="make train (or dvc repro) goes on from there",
        )

    def _diverged(self, loss: float, norm: float, learning_rate: float) -> None:
        raise TrainingError(
            f"training diverged: loss {loss}, gradient norm {norm}, learning rate {learning_rate:.2e} in epoch "
            f"{self.progress.epoch + 1}, step {self.progress.step + 1}",
            remedy=f"make train LEARNING_RATE={self.schedule.peak / 3:.1e}, or a smaller train.gradient_clip",
        )


class StopRequest:
    """Whether a signal asked to stop."""

    requested = False


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the loop sees after the step at hand. More of them do no harm."""
    stop = StopRequest()

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_optimizer(model: TinyTransformer, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) that decays the matrices and leaves embedding and norms alone."""
    decayed = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith("embedding")]
    others = [p for name, p in model.named_parameters() if p.dim() < 2 or name.startswith("embedding")]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=ADAM_BETAS, fused=True)


def copy_weights(model: TinyTransformer) -> dict[str, Tensor]:
    """Return the weights as they are now."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}
