"""The experiments behind the default recipe: one change at a time, on the tokens in data/tokens.

    python benchmarks/recipe_study.py                       # show the results
    python benchmarks/recipe_study.py Muon --seed 2         # run one trial, which takes about as long as `make train`
    python benchmarks/recipe_study.py --all                 # run those without a result

Results are saved in docs/reference/recipe_study.json and shown in docs/RECIPE.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from earlier_recipe import EarlierEngine
from results import Result, Results, exit_code
from torch import nn

from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config, load_config
from minimal_llm.model.perplexity import evaluate_spans, total
from minimal_llm.model.transformer import Architecture
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.step import Engine, architecture_of

SCREENING, FULL = 5, 20  # epochs
MUON_LEARNING_RATE = 0.02
COLUMNS = "| trial | seed | val loss | gap | after 3 | after 10 |\n| --- | ---: | ---: | ---: | ---: | ---: |"


class MuonEngine(Engine):
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        matrices = [p for name, p in self.model.named_parameters() if name.startswith("blocks") and p.dim() == 2]
        inside = {id(p) for p in matrices}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in inside]
        self._muon = torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=config.train.weight_decay)

    def update_weights(self, number: int) -> float:
        """Step both optimizers; Muon follows the same schedule with its own peak learning rate."""
        norm = super().update_weights(number)
        for group in self._muon.param_groups:
            group["lr"] = MUON_LEARNING_RATE * self.schedule.learning_rate(number) / self.schedule.peak
        self._muon.step()  # type: ignore[no-untyped-call]
        return norm


class WideInitEngine(Engine):
    """Matrices initialized with a standard deviation of 1 / sqrt(inputs) instead of 0.02."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        for name, parameter in self.model.named_parameters():
            if name.startswith("blocks") and parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)


@dataclass(frozen=True)
class Trial:
    """A recipe: the defaults with some parameters changed, or another engine."""

    changes: dict[str, Any] = field(default_factory=dict)
    engine: Callable[[Architecture, Config, Compute, int], Engine] = Engine
    epochs: int = SCREENING
    seeds: tuple[int, ...] = (1,)


def _train(**changes: Any) -> dict[str, Any]:
    return {f"train.{name}": value for name, value in changes.items()}


# The defaults, written out in full so that old results stay comparable when params.yaml changes.
BASE = _train(
    batch_size=32,
    learning_rate=2e-3,
    warmup_steps=100,
    min_learning_rate_ratio=0.1,
    weight_decay=0.1,
    dropout=0.35,
    dropout_rise_ratio=0.25,
    gradient_clip=1.0,
)
EARLIER = _train(learning_rate=3e-4, warmup_steps=0, min_learning_rate_ratio=0.0, dropout=0.0)
TRIALS = {
    "earlier recipe": Trial(EARLIER, EarlierEngine, FULL, (1, 2)),
    # Results with seed 1234 come from history.csv of the reference runs with each recipe.
    "default": Trial({}, Engine, FULL, (1234, 1)),
    "constant dropout": Trial(_train(dropout_rise_ratio=0.0), Engine, FULL, (1234, 1)),
    "batch 16": Trial(_train(batch_size=16), Engine, FULL),
    "batch 16, rate 1.4e-3": Trial(_train(batch_size=16, learning_rate=1.4e-3), Engine, FULL),
    "batch 16, dropout 0.2": Trial(_train(batch_size=16, dropout=0.2), Engine, FULL),
    "batch 8": Trial(_train(batch_size=8), Engine, FULL),
    "Muon": Trial({}, MuonEngine, FULL),
    "5 epochs: default": Trial(),
    "5 epochs: dropout 0": Trial(_train(dropout=0.0)),
    "5 epochs: rate 1e-3": Trial(_train(learning_rate=1e-3)),
    "5 epochs: rate 4e-3": Trial(_train(learning_rate=4e-3)),
    "5 epochs: no warm-up": Trial(_train(warmup_steps=0)),
    "5 epochs: floor 0": Trial(_train(min_learning_rate_ratio=0.0)),
    "5 epochs: weight decay 0": Trial(_train(weight_decay=0.0)),
    "5 epochs: weight decay 1": Trial(_train(weight_decay=1.0)),
    "5 epochs: Muon": Trial({}, MuonEngine),
    "5 epochs: wide init": Trial({}, WideInitEngine),
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
    results.show()


def _key(name: str, seed: int) -> str:
    return f"{name} / seed {seed}"


def _measure(name: str, seed: int, tokens_folder: Path) -> Result:
    trial = TRIALS[name]
    config = load_config(overrides={**BASE, **trial.changes, "train.epochs": trial.epochs, "seed": seed})
    return study(trial, config, read_tokens(tokens_folder))


def study(trial: Trial, config: Config, tokens: TokenFiles) -> Result:
    """Run a trial; return the losses of each epoch, the best epoch, and its gap."""
    train = config.train
    batches = TrainingBatches(tokens.train, train.batch_size, train.max_seq_length, config.seed)
    steps = train.epochs * batches.steps
    compute = choose_compute(train, steps, Path("data/checkpoints/compiled"))
    engine = trial.engine(architecture_of(config, tokens), config, compute, steps)
    rows = []
    for epoch in range(train.epochs):
        losses = [
            engine.step(epoch * batches.steps + step, inputs, targets)[0]
            for step, (inputs, targets) in enumerate(batches.epoch(epoch))
        ]
        dtype = compute.matmul_dtype
        val_loss = total(evaluate_spans(engine.model, tokens.val, tokens.meta.val, dtype)).loss
        rows.append((round(sum(losses) / len(losses), 4), round(val_loss, 4)))
        print(f"  {epoch + 1:2}  train {rows[-1][0]:.3f}  val {rows[-1][1]:.3f}", flush=True)
    best = min(range(len(rows)), key=lambda index: rows[index][1])
    return {
        "epochs": train.epochs,
        "best_epoch": best + 1,
        "val_loss": rows[best][1],
        "gap": round(rows[best][1] - rows[best][0], 4),
        "train_loss_falls": all(after[0] < before[0] for before, after in pairwise(rows)),
        "train": [row[0] for row in rows],
        "val": [row[1] for row in rows],
    }


def _row(run: str, result: Result) -> str:
    name, _, seed = run.rpartition(" / seed ")
    after = [f"{result['val'][number]:.3f}" if len(result["val"]) > number else "" for number in (2, 9)]
    return f"| {name} | {seed} | {result['val_loss']:.3f} | {result['gap']:.3f} | {' | '.join(after)} |"


if __name__ == "__main__":
    sys.exit(exit_code(main))
