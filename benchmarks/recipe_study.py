"""The experiments behind the default recipe: one change at a time, on the tokens in data/tokens.

    python benchmarks/recipe_study.py                       # show the results
    python benchmarks/recipe_study.py Muon --seed 2         # run one trial, which takes about as long as `make train`
    python benchmarks/recipe_study.py --all                 # run those without a result

Results are saved in docs/reference/recipe_study.json and shown in docs/RECIPE.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from results import Result, Results, exit_code
from torch import Tensor

from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config, load_config
from minimal_llm.model.perplexity import evaluate_spans, measure_losses, measure_test, total
from minimal_llm.model.transformer import Architecture, KVCache
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.training.step import ADAM_BETAS, Engine, architecture_of
from minimal_llm.training.train import training_batches

EPOCHS = 20
EVERY = 5  # epochs between evaluations
COLUMNS = """\
| trial | seeds | val loss | bits per byte | gap | test bits per byte | after 5 | after 10 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


class MuonEngine(Engine):
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else."""

    def __init__(
        self, rate: float, decay: float, architecture: Architecture, config: Config, compute: Compute, total_steps: int
    ) -> None:
        super().__init__(architecture, config, compute, total_steps)
        matrices = [p for name, p in self.model.named_parameters() if name.startswith("blocks") and p.dim() == 2]
        inside = {id(p) for p in matrices}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in inside]
        self._rate = rate
        self._muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay)

    def update_weights(self, number: int) -> float:
        """Step both optimizers; Muon follows the same schedule with its own peak learning rate."""
        norm = super().update_weights(number)
        for group in self._muon.param_groups:
            group["lr"] = self._rate * self.schedule.learning_rate(number) / self.schedule.peak
        self._muon.step()  # type: ignore[no-untyped-call]
        return norm


class FinalDropoutEngine(Engine):
    """Dropout on the states that the head reads as well."""

    RATE = 0.2

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        self._plain, self._calls = self._loss.hidden, 0
        self._loss.hidden = self._dropped

    def _dropped(self, tokens: Tensor, cache: KVCache | None = None, dropout: Tensor | None = None) -> Tensor:
        hidden: Tensor = self._plain(tokens, cache, dropout)
        self._calls += 1
        drawn = torch.rand(hidden.shape, generator=torch.Generator().manual_seed(self._calls))
        return hidden * ((drawn >= self.RATE) / (1 - self.RATE))


class LongMemoryEngine(Engine):
    """AdamW with a longer memory of squared gradients: 0.99 instead of 0.95."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        for group in self.optimizer.param_groups:
            group["betas"] = (ADAM_BETAS[0], 0.99)


@dataclass(frozen=True)
class Trial:
    """A recipe: the base with some parameters changed, or another engine."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    engine: Callable[[Architecture, Config, Compute, int], Engine] = Engine
    seeds: tuple[int, ...] = (1,)


def _train(**changes: Any) -> dict[str, Any]:
    return {f"train.{name}": value for name, value in changes.items()}


# Written out in full so that old results stay comparable when params.yaml changes.
BASE = {
    "model.tie_embeddings": True,
    **_train(
        epochs=EPOCHS,
        batch_size=32,
        max_seq_length=128,
        learning_rate=2e-3,
        warmup_steps=100,
        min_learning_rate_ratio=0.1,
        weight_decay=1.0,
        dropout=0.2,
        dropout_rise_ratio=0.25,
        input_mask=0.0,
        gradient_clip=1.0,
        softmax="auto",
    ),
}
DEFAULT = _train(learning_rate=4e-3, dropout=0.1, input_mask=0.15)
TRIALS = {
    "default": Trial(DEFAULT, seeds=(1, 2, 1234)),  # seed 1234: the reference run
    "default, head of its own": Trial({**DEFAULT, "model.tie_embeddings": False}),
    "default, full softmax": Trial(DEFAULT | _train(softmax="full")),
    "default, windows of 256": Trial(DEFAULT | _train(max_seq_length=256, batch_size=16)),
    "default, dropout 0.05": Trial(DEFAULT | _train(dropout=0.05)),
    "default, rate 6e-3, floor 0.02": Trial(DEFAULT | _train(learning_rate=6e-3, min_learning_rate_ratio=0.02)),
    "default, beta2 0.99": Trial(DEFAULT, LongMemoryEngine),
    "base": Trial(),
    "base, dropout 0.1": Trial(_train(dropout=0.1)),
    "base, rate 4e-3": Trial(_train(learning_rate=4e-3)),
    "base, mask 0.15, dropout 0.1": Trial(_train(input_mask=0.15, dropout=0.1)),
    "base, batch 16": Trial(_train(batch_size=16)),
    "base, windows of 256": Trial(_train(max_seq_length=256, batch_size=16)),
    "base, dropout before the head": Trial(_train(dropout=0.15), FinalDropoutEngine),
    "base, Muon 0.01": Trial({}, partial(MuonEngine, 0.01, 0.1)),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "trial", nargs="?", choices=sorted(TRIALS), metavar="trial", help="name of a trial; without one, show the table"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="run everything that has no result yet")
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    options = parser.parse_args()
    runs = {_key(name, seed): (name, seed) for name, trial in TRIALS.items() for seed in trial.seeds}
    results = Results(Path("docs/reference/recipe_study.json"), tuple(runs), COLUMNS, _row)
    chosen = results.missing() if options.all else []
    if options.trial:
        chosen = [_key(options.trial, options.seed)]
        runs[chosen[0]] = (options.trial, options.seed)
    results.update(chosen, lambda run: _measure(*runs[run], options.tokens))
    print(COLUMNS, *rows(results.read()), sep="\n")
    print(f"not measured: {'; '.join(results.missing()) or 'nothing'}")


def rows(results: Mapping[str, Result]) -> Iterator[str]:
    """Yield a row of the table for each trial with results: means, and standard deviations over its seeds."""
    for name in TRIALS:
        runs = {run: result for run, result in results.items() if run.rpartition(" / seed ")[0] == name}
        if runs:
            seeds = ", ".join(run.rpartition(" / seed ")[2] for run in runs)
            keys = ("val_loss", "bits_per_byte", "gap", "test_bits_per_byte")
            cells = [_spread([result[key] for result in runs.values()]) for key in keys]
            after = [f"{mean(result['val'][number] for result in runs.values()):.3f}" for number in (0, 1)]
            yield f"| {' | '.join([name, seeds, *cells, *after])} |"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _key(name: str, seed: int) -> str:
    return f"{name} / seed {seed}"


def _row(run: str, result: Result) -> str:
    return f"{run}: {result['val_loss']:.3f}, {result['bits_per_byte']:.3f} bits per byte, gap {result['gap']:.3f}"


def _measure(name: str, seed: int, tokens_folder: Path) -> Result:
    trial = TRIALS[name]
    config = load_config(overrides={**BASE, **trial.changes, "seed": seed})
    return study(trial, config, read_tokens(tokens_folder))


def study(trial: Trial, config: Config, tokens: TokenFiles) -> Result:
    """Run a trial; return the losses of the final weights, and the validation loss after every fifth epoch."""
    batches = training_batches(config, tokens)
    steps = config.train.epochs * batches.steps
    compute = choose_compute(config.train, steps, Path("data/checkpoints/compiled"))
    engine = trial.engine(architecture_of(config, tokens), config, compute, steps)
    val = []
    for epoch in range(config.train.epochs):
        for step, (inputs, targets) in enumerate(batches.epoch(epoch)):
            engine.step(epoch * batches.steps + step, inputs, targets)
        if (epoch + 1) % EVERY == 0:
            loss = total(evaluate_spans(engine.model, tokens.val, tokens.meta.val, compute.matmul_dtype)).loss
            val.append(round(loss, 4))
            print(f"  {epoch + 1:2}  val {loss:.3f}", flush=True)
    sample, parts = measure_losses(engine.model, tokens)
    validation = total(parts)
    return {
        "epochs": config.train.epochs,
        "val_loss": round(validation.loss, 4),
        "bits_per_byte": round(validation.bits_per_byte, 4),
        "gap": round(validation.loss - sample.loss, 4),
        "test_bits_per_byte": round(measure_test(engine.model, tokens).bits_per_byte, 4),
        "val": val,
    }


if __name__ == "__main__":
    sys.exit(exit_code(main))
