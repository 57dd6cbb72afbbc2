"""The train stage: reads the token files, writes the model files and their metrics."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError, ValidationError
from minimal_llm.common.files import write_json
from minimal_llm.common.unfinished_runs import describe_run
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import parameter_count
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.checkpoint import Checkpoints, State, checkpoint_root, read_checkpoint, what_is_trained
from minimal_llm.training.identity import fingerprint, of_another_team, run_id, run_inputs, unresumed
from minimal_llm.training.kernels import name_kernels, resumption
from minimal_llm.training.metrics import final_metrics, speed_metrics, write_results
from minimal_llm.training.step import architecture_of, copy_weights
from minimal_llm.training.team import Team, connected
from minimal_llm.training.trainer import Trainer, step_limit

WRITTEN_AGAIN = (
    "This run finished earlier; writing its results again from {folder}, without training. "
    "To train it again, delete this folder."
)


def train(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train on the token files in `inputs`; write the model and its metrics to `outputs`.

    Resumes an unfinished run with the same inputs. Outputs are written only after training has completed; those of a
    run that finished earlier are written again, with the same bytes and without training.

    Raises:
        TrainingError, TokenizerError: the inputs cannot be used, or training cannot continue.
        Interrupted: a signal stopped training; the next call resumes from there.
    """
    tokenizer = Tokenizer.load(inputs.tokenizer_model)
    tokens = read_tokens(inputs.tokens, ("train", "val"))  # never the test split
    check_tokenizer(tokens, tokenizer)
    batches = training_batches(config, tokens)
    root = checkpoint_root(outputs)
    compute = choose_compute(config.train, step_limit(config, batches), root / "compiled")
    initial, extended = initial_weights(config, tokens), extended_run(config, tokens, batches)
    identity = run_inputs(config, tokens)
    run = run_id(identity)
    checkpoints = Checkpoints(root, fingerprint(identity, compute))
    with connected(compute.device) as team, checkpoints.lock() if team.leads else nullcontext():
        trainer = Trainer(config, tokens, batches, tokenizer, compute, checkpoints, team)
        if initial is not None:
            trainer.start_from(initial)
        if extended is not None:
            trainer.extend(extended)
        if team.leads:
            checkpoints.clear_finished()
            describe_run(checkpoints.folder, config, batches.steps, run_id=run, compute=asdict(compute))
        resumed = _resume(trainer, checkpoints, of_another_team(root, run, compute), team)
        trainer.progress.add_kernels(name_kernels(compute))
        if not team.leads:
            trainer.run()
            return
        print(_summary(trainer, tokens, compute))
        if trainer.progress.step < trainer.total_steps:
            checkpoints.reopen()  # the last checkpoint of a finished run was damaged
        speed = checkpoints.finished_speed()
        if speed:
            print(WRITTEN_AGAIN.format(folder=checkpoints.folder))
        elif resumed:
            print(resumption(trainer.progress, batches.steps))
        elif notice := unresumed(root, run, compute):
            print(notice)
        trainer.run()
        final_weights = copy_weights(trainer.model)
        trainer.model.load_state_dict(trainer.best_weights)
        final = final_metrics(trainer.model.cpu(), tokens, trainer.progress, identity)
        if not speed:
            speed = speed_metrics(compute, trainer.progress, batches.tokens_per_step)
            checkpoints.finish(speed)
        save_model(outputs.best_model, trainer.model, tokenizer.sha256, trainer.best_weights)
        save_model(outputs.final_model, trainer.model, tokenizer.sha256, final_weights)
        write_results(outputs, config, tokens, run, trainer.progress, final)
        write_json(outputs.train_speed, speed)


def _resume(trainer: Trainer, checkpoints: Checkpoints, other: Checkpoints | None, team: Team) -> bool:
    """Restore the newest intact checkpoint; return whether there is one.

    All processes restore the one that the first finds: perhaps one that another number of processes has left.
    """
    state = None
    if team.leads:
        state = checkpoints.newest() or (checkpoints.take_over(other) if other else None)
    step = round(team.from_first(-1 if state is None else state.progress.step))
    if step < 0:
        return False
    trainer.restore(state or checkpoints.read(step))
    return True


def training_batches(config: Config, tokens: TokenFiles) -> TrainingBatches:
    """Return the batches of a run."""
    train = config.train
    document_start = tokens.meta.bos_id if train.window_start == "document" else None
    return TrainingBatches(tokens.train, train.batch_size, train.max_seq_length, config.seed, document_start)


def check_tokenizer(tokens: TokenFiles, tokenizer: Tokenizer) -> None:
    """Raise TrainingError, naming both hashes, if the token files were written with another tokenizer."""
    if tokens.meta.tokenizer_sha256 != tokenizer.sha256:
        raise TrainingError(
            f"the token files were written with tokenizer {tokens.meta.tokenizer_sha256[:12]}, "
            f"but the current one is {tokenizer.sha256[:12]}",
            remedy="dvc repro tokenizer",
            kind="configuration",
        )


def initial_weights(config: Config, tokens: TokenFiles) -> dict[str, Tensor] | None:
    """Return the weights of the model file that train.init_from names, or None if it is empty.

    Raises:
        TrainingError: the file is not a model, or a model with another tokenizer or architecture.
    """
    if not config.train.init_from:
        return None
    path = Path(config.train.init_from)
    try:
        loaded = load_model(path)
    except ValidationError as error:
        raise TrainingError(
            f"train.init_from: {error.message}", remedy="name a model file, or leave it empty", kind="configuration"
        ) from error
    theirs = what_is_trained(loaded.model.architecture, loaded.tokenizer_sha256)
    ours = what_is_trained(architecture_of(config, tokens), tokens.meta.tokenizer_sha256)
    _require_equal("train.init_from", path, theirs, ours)
    return dict(loaded.model.state_dict())


def extended_run(config: Config, tokens: TokenFiles, batches: TrainingBatches) -> State | None:
    """Return the last checkpoint of the run that train.extend_from names, or None if it is empty.

    Raises:
        TrainingError: the file is not the last checkpoint of a finished run, or one of a run with another tokenizer,
            architecture or corpus, or there is nothing to add to it.
    """
    if not config.train.extend_from:
        return None
    path = Path(config.train.extend_from)
    remedy = "name the last checkpoint of a finished run: ls data/checkpoints/*/step_*.pt; or leave it empty"
    try:
        state = read_checkpoint(path)
    except ValidationError as error:
        raise TrainingError(f"train.extend_from: {error.message}", remedy=remedy, kind="configuration") from error
    theirs, progress = state.trained, state.progress
    ours = what_is_trained(architecture_of(config, tokens), tokens.meta.tokenizer_sha256, batches.steps)
    _require_equal("train.extend_from", path, theirs, ours)
    if progress.step != progress.evaluated_at:
        raise TrainingError(f"train.extend_from: {path} is of an unfinished epoch", remedy=remedy, kind="configuration")
    if progress.step >= (limit := step_limit(config, batches)):
        done = progress.step / batches.steps
        raise TrainingError(
            f"train.extend_from: {path} has {progress.step:,} steps ({done:g} epochs) already, and this run would have "
            f"{limit:,} in all",
            remedy=f"make train EPOCHS={math.ceil(done) + 10}",
            kind="configuration",
        )
    return state


def _require_equal(key: str, path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise TrainingError, naming both sides, if what a file holds does not fit this run."""
    differences = [
        f"{name} is {theirs.get(name)} there, {ours[name]} here" for name in ours if theirs.get(name) != ours[name]
    ]
    if differences:
        raise TrainingError(
            f"{key}: {path} does not match this run: {'; '.join(differences)}",
            remedy=f"use the same corpus, tokenizer and model.* parameters, or leave {key} empty",
            kind="configuration",
        )


def _summary(trainer: Trainer, tokens: TokenFiles, compute: Compute) -> str:
    fallback = " (fallback: no mirror could be reached)" if tokens.meta.source_fallback else ""
    compiled = ", compiled" if compute.compiled else ""
    processes = f"{compute.processes} processes of " if compute.processes > 1 else ""
    return (
        f"corpus: {tokens.meta.source}{fallback}, "
        f"{len(tokens.train):,} training tokens, {len(tokens.val):,} validation tokens\n"
        f"model: {parameter_count(trainer.model):,} parameters; {trainer.batches.steps:,} steps/epoch, "
        f"{trainer.batches.tokens_per_step:,} tokens/step; "
        f"{compute.device}, {compute.precision} matmuls, {processes}{compute.threads} threads{compiled}"
    )
