"""The metrics of a completed run: results, history per epoch, and speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import Compute, cpu_name
from minimal_llm.common.config import Config, flatten
from minimal_llm.common.files import sha256_of, write_json, write_sealed, write_text
from minimal_llm.common.system import peak_memory_mb
from minimal_llm.common.unfinished_runs import SHAPES_NO_RESULT
from minimal_llm.model.ngrams import unigram_loss
from minimal_llm.model.perplexity import measure_losses, total
from minimal_llm.model.transformer import TinyTransformer, parameter_count
from minimal_llm.model.version import MODEL_VERSION
from minimal_llm.tokenizer.token_files import TokenFiles
from minimal_llm.training.checkpoint import Progress
from minimal_llm.training.step_record import clipped_share, steps_csv

HISTORY_COLUMNS = ("epoch", "train_loss", "val_loss", "learning_rate", "gradient_norm")
ACTIVITIES = ("steps", "batches", "evaluation", "samples", "checkpoints", "logging")  # how the time of a run is spent
PLATEAU_EPOCHS = 3
PLATEAU_GAIN = 0.005  # nats per token; a validation loss that falls by less over PLATEAU_EPOCHS epochs is on a plateau
OVERFITTING_GAP = 0.5  # nats per token


def plateau_epoch(val_losses: list[float]) -> int | None:
    """Return the first epoch (from 1) on a plateau, or None.

    Its loss is less than PLATEAU_GAIN below the best one of all epochs up to PLATEAU_EPOCHS earlier.
    """
    for index in range(PLATEAU_EPOCHS, len(val_losses)):
        if min(val_losses[: index - PLATEAU_EPOCHS + 1]) - val_losses[index] < PLATEAU_GAIN:
            return index + 1
    return None


def final_metrics(
    model: TinyTransformer, tokens: TokenFiles, progress: Progress, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of metrics/train.json; `model` must have the best weights. Losses are in nats per token.

    `inputs` are those of identity.run_inputs.
    """
    train, by_language = measure_losses(model, tokens)
    validation = total(by_language)
    gap = validation.loss - train.loss
    plateau = plateau_epoch([row["val_loss"] for row in progress.history])
    return {
        "corpus": tokens.meta.source,
        "init_from_sha256": inputs["init_from_sha256"],
        "extend_from_sha256": inputs["extend_from_sha256"],
        "epochs": progress.history[-1]["epoch"],
        "steps": progress.step,
        "best_epoch": progress.best_epoch,
        "val_loss": validation.loss,
        "val_perplexity": validation.perplexity,
        "val_bits_per_byte": validation.bits_per_byte,
        "unigram_loss": unigram_loss(tokens),
        "train_loss": train.loss,
        "gap": gap,
        "overfitting": gap > OVERFITTING_GAP,
        "converged": plateau is not None,
        "plateau_epoch": plateau or 0,
        "clipped_share": clipped_share(progress.steps),
        "parameters": parameter_count(model),
    }


def history_csv(history: list[dict[str, Any]]) -> str:
    """Return the history as CSV for plots, one row per epoch."""
    lines = [",".join(HISTORY_COLUMNS)]
    lines += [",".join(f"{row[column]:.8g}" for column in HISTORY_COLUMNS) for row in history]
    return "\n".join(lines) + "\n"


def write_results(
    artifacts: Artifacts, config: Config, tokens: TokenFiles, run: str, progress: Progress, final: dict[str, Any]
) -> None:
    """Write training_metrics.json, metrics/train.json and two tables for plots, which are identical for equal runs.

    Epochs are evaluated in the precision of training, and on less training text. The losses of the best one are
    replaced by the final ones, in fp32, so that a model has one loss wherever it is written.
    """
    best, losses = final["best_epoch"], {key: final[key] for key in ("train_loss", "val_loss")}
    history = [row | losses if row["epoch"] == best else row for row in progress.history]
    steps = steps_csv(progress.steps, progress.step)
    write_sealed(
        artifacts.training_metrics,
        {
            "run_id": run,
            "model_version": MODEL_VERSION,
            "corpus": {"source": tokens.meta.source, "fallback": tokens.meta.source_fallback},
            "configuration": {
                key: value
                for key, value in flatten(config).items()
                if key.startswith(("seed", "model.", "train.", "tokenizer.")) and key not in SHAPES_NO_RESULT
            },
            "epoch_history": history,
            "steps_sha256": sha256_of(steps.encode()),
            "final_metrics": final,
        },
    )
    write_json(artifacts.train_metrics, final)
    write_text(artifacts.history, history_csv(history))
    write_text(artifacts.steps, steps)


def speed_metrics(compute: Compute, progress: Progress, tokens_per_step: int) -> dict[str, Any]:
    """Return the content of metrics/train_speed.json, which differs between equal runs: times, memory and hardware."""
    seconds = progress.seconds
    total_seconds = sum(seconds.values())
    return {
        "total_seconds": round(total_seconds, 3),
        **{f"{activity}_seconds": round(seconds.get(activity, 0.0), 3) for activity in ACTIVITIES},
        "overhead_percent": round(100 * (1 - seconds["steps"] / total_seconds), 2),
        "tokens_per_s": round(progress.step * tokens_per_step / seconds["steps"], 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        **asdict(compute),
        "kernels": progress.kernels,  # more than one: the run was resumed on others
        "cpu": cpu_name(),
        "epoch_seconds": [
            round(done, 1) for done in progress.epoch_seconds
        ],  # since the start of the run, per evaluation
    }
