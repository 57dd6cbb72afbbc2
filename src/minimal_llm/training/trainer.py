"""The training loop. Read from top to bottom, this is everything that happens between token files and a model.

A batch, a training step and the learning rate schedule are in batches.py, step.py and schedule.py.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from minimal_llm.model.ngrams import unigram_loss
from minimal_llm.model.perplexity import Evaluation, evaluate, training_sample
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import Ids, TokenFiles
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.budget import TimeBudget
from minimal_llm.training.checkpoint import Checkpoints, Progress, State, what_is_trained
from minimal_llm.training.step import Engine, architecture_of, copy_weights
from minimal_llm.training.step_record import add_step
from minimal_llm.training.team import Team, share

SAMPLE_PROMPTS = {"en": "Once upon a time", "es": "Había una vez"}
SAMPLE_TOKENS = 40
SAMPLE_SHARE = 0.25  # training text that each epoch measures the loss on, of the size of the validation text
DIVERGED_NATS = 1.0  # above the loss of a uniform guess over the vocabulary
DIVERGED_STEPS = 20  # in a row
STUCK_STEPS = 300  # after warmup: any model that learns is far below the unigram loss by then
LEAST_INTERVAL_IN_SAVES = 20  # between two checkpoints, of the time that saving the latest one took
LARGEST_EVALUATION = 262_144  # validation tokens; of a larger split, evaluations while training take a sample


@dataclass(frozen=True)
class Agreement:
    """What the processes of a run have in common after a step: the mean loss, and the time of the first process."""

    loss: float
    stop: bool  # whether any of them has received a signal
    seconds: float  # since the start of the run
    evaluation_seconds: float  # that the latest evaluation took


class Trainer:
    """One training run. `run()` trains from the current `progress` to the last step.

    Several processes can train it together (team.py). All do the same, each on its part; the first one writes.
    """

    def __init__(
        self,
        config: Config,
        tokens: TokenFiles,
        batches: TrainingBatches,
        tokenizer: Tokenizer,
        compute: Compute,
        checkpoints: Checkpoints,
        team: Team,
    ) -> None:
        architecture = architecture_of(config, tokens)
        self.engine = Engine(architecture, config, compute, step_limit(config, batches), team)
        self.model, self.batches = self.engine.model, batches
        self.progress = Progress()
        self.best_weights = copy_weights(self.model)
        self._config = config
        self._tokens = tokens
        self._evaluated_val, self._evaluated_train = _evaluated_text(tokens, config.train.max_seq_length, team)
        self._tokenizer = tokenizer
        self._compute = compute
        self._checkpoints = checkpoints
        self._team = team
        self._log = LiveLog(checkpoints.folder) if team.leads else None
        self._first_step = True
        self._agreed = Agreement(0.0, stop=False, seconds=0.0, evaluation_seconds=0.0)
        self._evaluation_seconds = 0.0  # of the latest
        self._budget = TimeBudget(config.train.max_minutes, 0, 0.0)
        self._saved_at, self._save_seconds = time.monotonic(), 0.0

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run, as planned so far."""
        return self.engine.schedule.total_steps

    def epochs(self, step: int) -> float:
        """Return how many epochs so many steps are: a whole number at the end of an epoch."""
        whole, rest = divmod(step, self.batches.steps)
        return round(step / self.batches.steps, 3) if rest else whole

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Use the weights of another model with the same architecture as initial weights."""
        self.model.load_state_dict(weights)
        self.best_weights = copy_weights(self.model)

    def restore(self, state: State) -> None:
        """Continue from a checkpoint of this run."""
        self.model.load_state_dict(state.model)
        self.engine.load_optimizer(state.optimizer)
        self.progress, self.best_weights = state.progress, state.best_weights
        done = self.progress
        self.engine.plan(done.planned_steps or self.total_steps, done.extended_at, done.extended_rate)
        self._budget = TimeBudget(self._config.train.max_minutes, done.step, sum(done.seconds.values()))

    def extend(self, state: State) -> None:
        """Continue from the last checkpoint of a run that was planned to end there, with its history."""
        done = state.progress
        rate = done.history[-1]["learning_rate"]
        self.restore(replace(state, progress=replace(done, extended_at=done.step, extended_rate=rate, planned_steps=0)))

    def run(self) -> None:
        """Train to the last step.

        Raises:
            Interrupted: a signal arrived; a checkpoint of the last completed step is saved.
            TrainingError: training diverged, or a checkpoint cannot be written.
        """
        with catch_signals() as stop, self._logged():
            batches = self._remaining_batches()
            while self.progress.step < self.total_steps or self.progress.step > self.progress.evaluated_at:
                self._train_to_evaluation(batches, stop)
                self._evaluate(stop)
            if self._team.sum(float(stop.requested))[0]:  # a signal that arrived during the last checkpoint
                self._interrupt()

    def _remaining_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first = divmod(self.progress.step, self.batches.steps)
        yield from self.batches.epoch(epoch, first)
        for later in itertools.count(epoch + 1):
            yield from self.batches.epoch(later)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Log the start of the block and how it ends."""
        if self._log is None:
            yield
            return
        self._log.start(self._config, self.batches.steps, self.total_steps, self.batches.tokens_per_step)
        state = "failed"
        try:
            yield
            state = "finished"
        except Interrupted:
            state = "interrupted"
            raise
        finally:
            self._log.end(state)

    def _train_to_evaluation(self, batches: Iterator[tuple[Tensor, Tensor]], stop: StopRequest) -> None:
        """Train until the next evaluation is due: at the end of an epoch or of the run, or of evaluate_every_steps."""
        progress = self.progress
        epoch, step = divmod(progress.step, self.batches.steps)
        bar = tqdm(
            total=self.batches.steps,
            initial=step,
            desc=f"epoch {epoch + 1}/{self.epochs(self.total_steps):g}",
            unit="step",
            leave=False,
            disable=None if self._team.leads else True,  # None: no progress bar unless stderr is a terminal
        )
        with bar:
            while progress.step < self.total_steps and not self._evaluation_is_due():
                with self._timed("batches"):
                    inputs, targets = next(batches)
                loss = self._train_step(inputs, targets, stop)
                with self._timed("logging"):
                    bar.update()
                    if self._log:
                        self._log.step(progress.step, loss)
                if self._agreed.stop:
                    self._interrupt()
                self._plan()
                if time.monotonic() - self._saved_at >= self._checkpoint_interval:
                    self._save()

    def _evaluation_is_due(self) -> bool:
        """Return whether it is, and has not been made: a signal may have broken it off before the run was resumed."""
        step, every = self.progress.step, self._config.train.evaluate_every_steps
        is_regular = step % self.batches.steps == 0 or (every > 0 and step % every == 0)
        return is_regular and step > self.progress.evaluated_at

    def _plan(self) -> None:
        """With train.max_minutes, plan for as many steps as fit: the learning rate follows the time that is left."""
        progress = self.progress
        if steps := self._budget.steps(progress.step, self._agreed.seconds, self._agreed.evaluation_seconds):
            progress.planned_steps = min(steps, step_limit(self._config, self.batches))
            self.engine.plan(progress.planned_steps, progress.extended_at, progress.extended_rate)

    def _train_step(self, inputs: Tensor, targets: Tensor, stop: StopRequest) -> float:
        """Train on a batch and return its loss."""
        # torch.compile runs in the first step and takes half a minute. A signal may interrupt it there, because only
        # gradients have changed.
        compiling = self._compute.compiled and self._first_step
        with self._timed("steps"), self._interruptible(stop, enabled=compiling):
            loss = self.engine.compute_gradients(self.progress.step, inputs, targets)
        self._first_step = False
        with self._timed("steps"):
            norm = self.engine.update_weights(self.progress.step)
            self._agreed = self._agree(loss, stop)
        self._check_health(self._agreed.loss, norm)
        progress, rate = self.progress, self.engine.schedule.learning_rate(self.progress.step)
        add_step(progress.steps, self._agreed.loss, rate, norm, self._config.train.gradient_clip)
        progress.gradient_norm_sum += norm
        progress.step += 1
        return self._agreed.loss

    def _agree(self, loss: float, stop: StopRequest) -> Agreement:
        """Return what all processes go by after a step, so that they do the same: the loss, a signal, and the time."""
        seconds = sum(self.progress.seconds.values())
        loss, signals, seconds, evaluation = self._team.sum(
            loss / self._team.size,
            float(stop.requested),
            seconds if self._team.leads else 0.0,
            self._evaluation_seconds if self._team.leads else 0.0,
        )
        return Agreement(loss, signals > 0, seconds, evaluation)

    def _check_health(self, loss: float, norm: float) -> None:
        """Raise TrainingError if training has diverged, so that continuing would only waste time."""
        uniform = math.log(self.model.architecture.vocab_size)
        diverged = self.progress.steps_diverged + 1 if loss > uniform + DIVERGED_NATS else 0
        self.progress.steps_diverged = diverged
        if math.isfinite(loss) and math.isfinite(norm) and diverged < DIVERGED_STEPS:
            return
        epoch, step = divmod(self.progress.step, self.batches.steps)
        raise TrainingError(
            f"training diverged in epoch {epoch + 1}, step {step + 1}: "
            f"loss {loss:.3g} (a uniform guess has {uniform:.3g}), gradient norm {norm:.3g}, learning rate "
            f"{self.engine.schedule.learning_rate(self.progress.step):.2e}; the last good checkpoint is kept",
            remedy=f"make train LEARNING_RATE={self.engine.schedule.peak / 3:.1e}",
            kind="configuration",
        )

    def _evaluate(self, stop: StopRequest) -> None:
        """Evaluate the model, generate samples, record and print the results, save a checkpoint."""
        started = time.monotonic()
        with self._timed("evaluation"), self._interruptible(stop):
            train_loss, val_loss = map(self._loss_of, (self._evaluated_train, self._evaluated_val))
        with self._timed("samples"), self._interruptible(stop):
            samples = self._samples() if self._team.leads else {}
        self._evaluation_seconds = time.monotonic() - started
        self._record(train_loss, val_loss, samples)
        with self._timed("logging"):
            self._report(self.progress.history[-1])
        self._save()

    def _loss_of(self, texts: Sequence[Ids]) -> float:
        """Return the loss over some texts, of each of which every process has a part."""
        dtype = self._compute.matmul_dtype
        own = sum((evaluate(self.model, ids, dtype=dtype) for ids in texts if len(ids) > 1), Evaluation(0.0, 0, 0))
        nats, count = self._team.sum(own.nats, own.tokens)
        return nats / count

    def _samples(self) -> dict[str, str]:
        """Return a short text per language, to show what the model has learned so far."""
        sampling = Sampling(seed=derive_seed("samples", self._config.seed, self.progress.step))
        decoder = TorchDecoder(self.model)
        return {
            language: prompt + generate(decoder, self._tokenizer, prompt, SAMPLE_TOKENS, sampling)
            for language, prompt in SAMPLE_PROMPTS.items()
        }

    def _record(self, train_loss: float, val_loss: float, samples: dict[str, str]) -> None:
        """Add an evaluation to the history, and remember the weights if they are the best so far."""
        progress = self.progress
        epoch = self.epochs(progress.step)
        row = {
            "epoch": epoch,
            "step": progress.step,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "learning_rate": self.engine.schedule.learning_rate(progress.step - 1),
            "gradient_norm": progress.gradient_norm_sum / (progress.step - progress.evaluated_at),
            "samples": samples,
        }
        if val_loss < progress.best_val_loss:
            progress.best_epoch, progress.best_val_loss = epoch, val_loss
            self.best_weights = copy_weights(self.model)
        progress.history = [*progress.history, row]
        progress.epoch_seconds = [*progress.epoch_seconds, sum(progress.seconds.values())]
        progress.gradient_norm_sum = 0.0

    def _report(self, row: dict[str, Any]) -> None:
        """Print an evaluation with its samples, and write it to the live log."""
        if self._log is None:
            return
        started, ended = [0.0, *self.progress.epoch_seconds][-2:]
        steps = row["step"] - ([0] + [earlier["step"] for earlier in self.progress.history])[-2]
        seconds, is_best = ended - started, row["epoch"] == self.progress.best_epoch
        self._log.epoch(row, seconds, is_best)
        best = " *" if is_best else ""
        speed = steps * self.batches.tokens_per_step / max(seconds, 1e-9)
        print(
            f"epoch {row['epoch']:>3}/{self.epochs(self.total_steps):g}  train {row['train_loss']:.3f}"
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
        evaluated_before = ([0] + [row["step"] for row in self.progress.history])[-2]
        is_time = evaluated_before < first <= self.progress.step
        if is_time and best > (unigram := unigram_loss(self._tokens)):
            print(
                f"warning: after {self.progress.step:,} steps, the validation loss is {best:.3f}, no better than a "
                f"guess by how frequent each token is ({unigram:.3f}): this run is probably broken. "
                f"What to do: make train LEARNING_RATE={schedule.peak / 3:.1e}",
                file=sys.stderr,
            )

    @property
    def _checkpoint_interval(self) -> float:
        """Seconds between two checkpoints: as configured, or more where saving would take over 5 % of the time."""
        return max(self._config.train.checkpoint_every_seconds, LEAST_INTERVAL_IN_SAVES * self._save_seconds)

    def _save(self) -> None:
        """Write a checkpoint and delete old ones."""
        if not self._team.leads:
            return
        train, started = self._config.train, time.monotonic()
        with self._timed("checkpoints"):
            self._checkpoints.save(self.state())
            every = train.checkpoint_every_epochs * self.batches.steps
            epoch_ends = set(range(every, self.progress.step + 1, every))
            if self.progress.steps_diverged == 0:  # otherwise the last good checkpoint may be the oldest one
                self._checkpoints.prune(train.keep_checkpoints, self.progress.step, epoch_ends)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def state(self) -> State:
        """Return everything that a checkpoint holds."""
        trained = what_is_trained(self.model.architecture, self._tokens.meta.tokenizer_sha256, self.batches.steps)
        optimizer = self.engine.optimizer.state_dict()
        return State(self.progress, self.model.state_dict(), optimizer, self.best_weights, trained)

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
            # Several processes have to do it together, which they agree on after the next step.
            with stop.raising(enabled and self._team.size == 1):
                yield
        except StopNow:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        """Save a checkpoint and raise Interrupted."""
        self._save()
        done, planned = (step / self.batches.steps for step in (self.progress.step, self.total_steps))
        raise Interrupted(
            f"stopped after {done:.2f} of {round(planned, 2):g} epochs; progress is saved",
            remedy="make train (or dvc repro) resumes from there",
        )


def step_limit(config: Config, batches: TrainingBatches) -> int:
    """Return the number of steps of a run that nothing ends early: train.epochs, and not over train.max_steps."""
    steps = config.train.epochs * batches.steps
    return min(steps, config.train.max_steps or steps)


def _evaluated_text(tokens: TokenFiles, length: int, team: Team) -> tuple[list[Ids], list[Ids]]:
    """Return this process's part of the text that evaluations take while training: of each language, and to train on.

    That is all validation text, or windows spread evenly over it, and SAMPLE_SHARE of its size of the training text.
    """
    fraction = min(1.0, LARGEST_EVALUATION / max(1, len(tokens.val)))
    spans = [span.of(tokens.val) for span in tokens.meta.val]
    if fraction < 1:
        spans = [training_sample(ids, round(fraction * len(ids)), length) for ids in spans]
    train = training_sample(tokens.train, round(SAMPLE_SHARE * sum(map(len, spans))), length)
    return [share(ids, length, team) for ids in spans], [share(train, length, team)]
