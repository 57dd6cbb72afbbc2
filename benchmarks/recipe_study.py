"""The runs that the default recipe rests on: one change at a time, on the tokens in data/tokens.

    python benchmarks/recipe_study.py                       # what there is, and what is measured
    python benchmarks/recipe_study.py Muon --seed 2         # run one, about as long as a training run
    python benchmarks/recipe_study.py --all                 # run all that are not measured yet

Results are kept in docs/reference/recipe_study.json; docs/RECIPE.md shows them.
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
from torch import nn

from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import MinimalLlmError
from minimal_llm.common.files import read_json, write_json
from minimal_llm.model.perplexity import evaluate_spans, total
from minimal_llm.model.transformer import Architecture
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.step import Engine, architecture_of

RESULTS = Path("docs/reference/recipe_study.json")
SCREENING, FULL = 5, 20  # epochs
MUON_LEARNING_RATE = 0.02


class MuonEngine(Engine):
    """Muon (Jordan et al. 2024) for the matrices inside of the blocks, AdamW for the rest."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        matrices = [p for name, p in self.model.named_parameters() if name.startswith("blocks") and p.dim() == 2]
        inside = {id(p) for p in matrices}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in inside]
        self._muon = torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=config.train.weight_decay)

    def update_weights(self, number: int) -> float:
        """Step with both optimizers, Muon along the same schedule with a peak of its own."""
        norm = super().update_weights(number)
        for group in self._muon.param_groups:
            group["lr"] = MUON_LEARNING_RATE * self.schedule.learning_rate(number) / self.schedule.peak
        self._muon.step()  # type: ignore[no-untyped-call]
        return norm


class WideInitEngine(Engine):
    """Matrices drawn with a standard deviation of 1 / sqrt(inputs) instead of 0.02."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        for name, parameter in self.model.named_parameters():
            if name.startswith("blocks") and parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)


@dataclass(frozen=True)
class Trial:
    """One recipe: the defaults with some parameters changed, or another engine."""

    changes: dict[str, Any] = field(default_factory=dict)
    engine: Callable[[Architecture, Config, Compute, int], Engine] = Engine
    epochs: int = SCREENING
    seeds: tuple[int, ...] = (1,)


def _train(**changes: Any) -> dict[str, Any]:
    return {f"train.{name}": value for name, value in changes.items()}


# The defaults in full, so that the study stays what it was if params.yaml changes
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
    # Seed 1234 is that of the reference runs, whose history.csv of either recipe was taken over.
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


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", nargs="?", choices=sorted(TRIALS), metavar="trial", help="a name from the list")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="run what is not measured yet")
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    options = parser.parse_args()
    try:
        if options.all:
            for name, trial in TRIALS.items():
                for seed in trial.seeds:
                    if _key(name, seed) not in _results():
                        _run(name, seed, options.tokens)
        elif options.trial:
            _run(options.trial, options.seed, options.tokens)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    _show(_results())
    return 0


def _key(name: str, seed: int) -> str:
    return f"{name} / seed {seed}"


def _results() -> dict[str, Any]:
    return dict(read_json(RESULTS)) if RESULTS.exists() else {}


def _run(name: str, seed: int, tokens_folder: Path) -> None:
    trial = TRIALS[name]
    config = load_config(overrides={**BASE, **trial.changes, "train.epochs": trial.epochs, "seed": seed})
    tokens = read_tokens(tokens_folder)
    print(f"{name}, seed {seed}, {trial.epochs} epochs", flush=True)
    result = study(trial, config, tokens)
    write_json(RESULTS, {**_results(), _key(name, seed): result})


def study(trial: Trial, config: Config, tokens: TokenFiles) -> dict[str, Any]:
    """Return the losses of each epoch of one trial, the best one, and its gap."""
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
        dtype = compute.product_dtype
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


def _show(results: dict[str, Any]) -> None:
    """Print the table of docs/RECIPE.md, and then what is not measured yet."""
    print("| trial | seed | val loss | gap | after 3 | after 10 |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    runs = [(name, seed) for name, trial in TRIALS.items() for seed in trial.seeds]
    for name, seed in runs:
        if result := results.get(_key(name, seed)):
            val = result["val"]
            after = [f"{val[number]:.3f}" if len(val) > number else "" for number in (2, 9)]
            print(f"| {name} | {seed} | {result['val_loss']:.3f} | {result['gap']:.3f} | {' | '.join(after)} |")
    missing = [_key(name, seed) for name, seed in runs if _key(name, seed) not in results]
    print(f"not measured: {'; '.join(missing) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
