"""The training loop. Read from top to bottom, this is everything that happens between token files and a model.

A batch, a training step and the learning rate schedule are in batches.py, step.py and schedule.py.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from torch import Tensor
from tqdm import tqdm

from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import Interrupted, TrainingError
from minimal_llm.common.live_log import LiveLog
from minimal_llm.common.signals import StopNow, StopRequest, catch_signals
from minimal_llm.inference.generation import generate
from minimal_llm.inference.sampling import Sampling
from minimal_llm.inference.torch_decoder import TorchDecoder
from minimal_llm.model.perplexity import evaluate, evaluate_spans, total, training_sample, unigram_loss
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import TokenFiles
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.checkpoint import Checkpoints, Progress, State
from minimal_llm.training.step import Engine, architecture_of, copy_weights

SAMPLE_PROMPTS = {"en": "Once upon a time", "es": "Había una vez"}
SAMPLE_TOKENS = 40
SAMPLE_SHARE = 0.25  # training text that each epoch measures the loss on, of the size of the validation text
DIVERGED_NATS = 1.0  # above the loss of a uniform guess over the vocabulary
DIVERGED_STEPS = 20  # in a row
STUCK_STEPS = 300  # after warmup: any model that learns is far below the unigram loss by then


class Trainer:
    """One training run. `run()` trains from the current `progress` to the last epoch."""

    def __init__(
        self,
        config: Config,
        tokens: TokenFiles,
        batches: TrainingBatches,
        tokenizer: Tokenizer,
        compute: Compute,
        checkpoints: Checkpoints,
    ) -> None:
        self.engine = Engine(architecture_of(config, tokens), config, compute, config.train.epochs * batches.steps)
        self.model, self.batches = self.engine.model, batches
        self.progress = Progress()
        self.best_weights = copy_weights(self.model)
        self._config = config
        self._tokens = tokens
        length = config.train.max_seq_length
        self._train_sample = training_sample(tokens.train, round(SAMPLE_SHARE * len(tokens.val)), length)
        self._tokenizer = tokenizer
        self._compute = compute
        self._checkpoints = checkpoints
        self._log = LiveLog(checkpoints.folder)
        self._first_step = True
        self._saved_at = time.monotonic()

    @property
    def global_step(self) -> int:
        """The number of steps since the start of the run."""
        return self.progress.epoch * self.batches.steps + self.progress.step

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Use the weights of another model with the same architecture as initial weights."""
        self.model.load_state_dict(weights)
        self.best_weights = copy_weights(self.model)

    def resume(self) -> bool:
        """Restore the newest intact checkpoint of this run; return whether there is one."""
        state = self._checkpoints.newest()
        if state is None:
            return False
        self.model.load_state_dict(state.model)
        self.engine.optimizer.load_state_dict(state.optimizer)
        self.progress, self.best_weights = state.progress, state.best_weights
        return True

    def run(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: a signal arrived; a checkpoint of the last completed step is saved.
            TrainingError: training diverged, or a checkpoint cannot be written.
        """
        with catch_signals() as stop, self._logged():
            while self.progress.epoch < self._config.train.epochs:
                self._train_epoch(stop)
                self._finish_epoch(stop)
            if stop.requested:  # a signal that arrived during the last checkpoint
                self._interrupt()

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Log the start of the block and how it ends."""
        self._log.start(self._config, self.batches.steps, self.batches.tokens_per_step)
        state = "failed"
        try:
            yield
            state = "finished"
        except Interrupted:
            state = "interrupted"
            raise
        finally:
            self._log.end(state)

    def _train_epoch(self, stop: StopRequest) -> None:
        """Train on the remaining batches of the epoch."""
        progress = self.progress
        batches = self.batches.epoch(progress.epoch, progress.step)
        bar = tqdm(
            total=self.batches.steps,
            initial=progress.step,
            desc=f"epoch {progress.epoch + 1}/{self._config.train.epochs}",
            unit="step",
            leave=False,
            disable=None,  # no progress bar unless stderr is a terminal
        )
        with bar:
            while progress.step < self.batches.steps:
                with self._timed("batches"):
                    inputs, targets = next(batches)
                loss = self._train_step(inputs, targets, stop)
                with self._timed("logging"):
                    bar.update()
                    self._log.step(progress.epoch + 1, progress.step, loss)
                if stop.requested:
                    self._interrupt()
                if time.monotonic() - self._saved_at >= self._config.train.checkpoint_every_seconds:
                    self._save()

    def _train_step(self, inputs: Tensor, targets: Tensor, stop: StopRequest) -> float:
        """Train on a batch and return its loss."""
        # torch.compile runs in the first step and takes half a minute. A signal may interrupt it there, because only
        # gradients have changed.
        compiling = self._compute.compiled and self._first_step
        with self._timed("steps"), self._interruptible(stop, enabled=compiling):
            loss = self.engine.compute_gradients(self.global_step, inputs, targets)
        self._first_step = False
        with self._timed("steps"):
            norm = self.engine.update_weights(self.global_step)
        self._check_health(loss, norm)
        self.progress.gradient_norm_sum += norm
        self.progress.step += 1
        return loss

    def _check_health(self, loss: float, norm: float) -> None:
        """Raise TrainingError if training has diverged, so that continuing would only waste time."""
        uniform = math.log(self.model.architecture.vocab_size)
        diverged = self.progress.steps_diverged + 1 if loss > uniform + DIVERGED_NATS else 0
        self.progress.steps_diverged = diverged
        if math.isfinite(loss) and math.isfinite(norm) and diverged < DIVERGED_STEPS:
            return
        raise TrainingError(
            f"training diverged in epoch {self.progress.epoch + 1}, step {self.progress.step + 1}: loss {loss:.3g} "
            f"(a uniform guess has {uniform:.3g}), gradient norm {norm:.3g}, learning rate "
            f"{self.engine.schedule.learning_rate(self.global_step):.2e}; the last good checkpoint is kept",
            remedy=f"make train LEARNING_RATE={self.engine.schedule.peak / 3:.1e}, or a smaller train.gradient_clip",
            kind="configuration",
        )

    def _finish_epoch(self, stop: StopRequest) -> None:
        """Evaluate the model, generate samples, record and print the metrics of the epoch, save a checkpoint."""
        with self._timed("evaluation"), self._interruptible(stop):
            dtype = self._compute.matmul_dtype
            train_loss = evaluate(self.model, self._train_sample, dtype=dtype).loss
            val_loss = total(evaluate_spans(self.model, self._tokens.val, self._tokens.meta.val, dtype)).loss
        with self._timed("samples"), self._interruptible(stop):
            samples = self._samples()
        self._record_epoch(train_loss, val_loss, samples)
        with self._timed("logging"):
            self._report_epoch(self.progress.history[-1])
        self._save()

    def _samples(self) -> dict[str, str]:
        """Return a short text per language, to show what the model has learned so far."""
        sampling = Sampling(seed=derive_seed("samples", self._config.seed, self.progress.epoch))
        decoder = TorchDecoder(self.model)
        return {
            language: prompt + generate(decoder, self._tokenizer, prompt, SAMPLE_TOKENS, sampling)
            for language, prompt in SAMPLE_PROMPTS.items()
        }

    def _record_epoch(self, train_loss: float, val_loss: float, samples: dict[str, str]) -> None:
        """Add the epoch to the history, remember the weights if they are the best so far, start the next epoch."""
        progress, steps = self.progress, self.batches.steps
        best_epoch, best_val_loss = progress.best_epoch, progress.best_val_loss
        if val_loss < best_val_loss:
            best_epoch, best_val_loss = progress.epoch + 1, val_loss
            self.best_weights = copy_weights(self.model)
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "learning_rate": self.engine.schedule.learning_rate(self.global_step - 1),
            "gradient_norm": progress.gradient_norm_sum / steps,
            "samples": samples,
        }
        self.progress = Progress(
            epoch=progress.epoch + 1,
            history=[*progress.history, row],
            seconds=progress.seconds,
            epoch_seconds=[*progress.epoch_seconds, sum(progress.seconds.values())],
            best_epoch=best_epoch,
            best_val_loss=best_val_loss,
            steps_diverged=progress.steps_diverged,
            kernels=progress.kernels,
        )

    def _report_epoch(self, row: dict[str, Any]) -> None:
        """Print the metrics and samples of an epoch, and write them to the live log."""
        started, ended = [0.0, *self.progress.epoch_seconds][-2:]
        seconds, is_best = ended - started, row["epoch"] == self.progress.best_epoch
        self._log.epoch(row, seconds, is_best)
        best = " *" if is_best else ""
        speed = self.batches.steps * self.batches.tokens_per_step / max(seconds, 1e-9)
        print(
            f"epoch {row['epoch']:>3}/{self._config.train.epochs}  train {row['train_loss']:.3f}"
            f"  val {row['val_loss']:.3f}{best:2}  lr {row['learning_rate']:.2e}  |g| {row['gradient_norm']:.2f}"
            f"  {speed:,.0f} tokens/s  {seconds:.0f} s"
        )
        for language, text in row["samples"].items():
            print(f"    {language}  {' '.join(text.split())}")
        self._warn_if_stuck()
        sys.stdout.flush()

    def _warn_if_stuck(self) -> None:
        """Warn, once, if the model has learned no more than how frequent each token is."""
        schedule, best = self.engine.schedule, self.progress.best_val_loss
        first = min(schedule.warmup_steps, schedule.total_steps // 10) + STUCK_STEPS
        is_time = self.global_step - self.batches.steps < first <= self.global_step
        if is_time and best > (unigram := unigram_loss(self._tokens)):
            print(
                f"warning: after {self.global_step:,} steps, the validation loss is {best:.3f}, no better than a guess "
                f"by how frequent each token is ({unigram:.3f}): this run is probably broken. "
                f"What to do: make train LEARNING_RATE={schedule.peak / 3:.1e}",
                file=sys.stderr,
            )

    def _save(self) -> None:
        """Write a checkpoint and delete old ones."""
        train = self._config.train
        with self._timed("checkpoints"):
            state = State(self.progress, self.model.state_dict(), self.engine.optimizer.state_dict(), self.best_weights)
            self._checkpoints.save(state, self.global_step)
            every = train.checkpoint_every_epochs
            epoch_ends = {e * self.batches.steps for e in range(every, self.progress.epoch + 1, every)}
            if self.progress.steps_diverged == 0:  # otherwise the last good checkpoint may be the oldest one
                self._checkpoints.prune(train.keep_checkpoints, self.global_step, epoch_ends)
        self._saved_at = time.monotonic()

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        """Add the duration of the block to `progress.seconds`."""
        seconds = self.progress.seconds
        started = time.monotonic()
        try:
            yield
        finally:
            seconds[activity] = seconds.get(activity, 0.0) + time.monotonic() - started

    @contextmanager
    def _interruptible(self, stop: StopRequest, enabled: bool = True) -> Iterator[None]:
        """Let a signal abandon the block and save a checkpoint. The block must not change any checkpointed state."""
        try:
            with stop.raising(enabled):
                yield
        except StopNow:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        """Save a checkpoint and raise Interrupted."""
        self._save()
        done = self.progress.epoch + self.progress.step / self.batches.steps
        raise Interrupted(
            f"stopped after {done:.2f} of {self._config.train.epochs} epochs; progress is saved",
            remedy="make train (or dvc repro) resumes from there",
        )
