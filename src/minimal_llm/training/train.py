"""The train stage: reads the token files, writes the model files and their metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError, ValidationError
from minimal_llm.common.files import write_json
from minimal_llm.common.unfinished_runs import describe_run
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, parameter_count
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.checkpoint import Checkpoints, checkpoint_root
from minimal_llm.training.identity import fingerprint, run_id, run_inputs, unresumed
from minimal_llm.training.kernels import name_kernels, resumption
from minimal_llm.training.metrics import final_metrics, speed_metrics, write_results
from minimal_llm.training.step import architecture_of, copy_weights
from minimal_llm.training.trainer import Trainer

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
    compute = choose_compute(config.train, config.train.epochs * batches.steps, root / "compiled")
    initial = initial_weights(config, tokens)
    identity = run_inputs(config, tokens)
    checkpoints = Checkpoints(root, fingerprint(identity, compute))
    checkpoints.clear_finished()
    with checkpoints.lock():
        trainer = Trainer(config, tokens, batches, tokenizer, compute, checkpoints)
        if initial is not None:
            trainer.start_from(initial)
        run = run_id(identity)
        describe_run(checkpoints.folder, config, batches.steps, run_id=run, compute=asdict(compute))
        resumed = trainer.resume()
        trainer.progress.add_kernels(name_kernels(compute))
        print(_summary(trainer, tokens, compute))
        if trainer.progress.epoch < config.train.epochs:
            checkpoints.reopen()  # the last checkpoint of a finished run was damaged
        speed = checkpoints.finished_speed()
        if speed:
            print(WRITTEN_AGAIN.format(folder=checkpoints.folder))
        elif resumed:
            print(resumption(trainer.progress.epoch, trainer.progress.step, trainer.progress.kernels))
        elif notice := unresumed(root, run, compute):
            print(notice)
        trainer.run()
        final_weights = copy_weights(trainer.model)
        trainer.model.load_state_dict(trainer.best_weights)
        final = final_metrics(trainer.model.cpu(), tokens, trainer.progress, identity["init_from_sha256"])
        if not speed:
            speed = speed_metrics(compute, trainer.progress, batches.steps * batches.tokens_per_step)
            checkpoints.finish(speed)
        save_model(outputs.best_model, trainer.model, tokenizer.sha256, trainer.best_weights)
        save_model(outputs.final_model, trainer.model, tokenizer.sha256, final_weights)
        write_results(outputs, config, tokens, run, trainer.progress, final)
        write_json(outputs.train_speed, speed)


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
    theirs = {"tokenizer": loaded.tokenizer_sha256[:12], **_weight_shapes(loaded.model.architecture)}
    ours = {"tokenizer": tokens.meta.tokenizer_sha256[:12], **_weight_shapes(architecture_of(config, tokens))}
    if theirs != ours:
        differences = [f"{key} is {theirs[key]}, not {ours[key]}" for key in ours if theirs[key] != ours[key]]
        raise TrainingError(
            f"train.init_from: {path} does not match this run: {'; '.join(differences)}",
            remedy="use the same tokenizer and model.* parameters as that model, or leave it empty",
            kind="configuration",
        )
    return dict(loaded.model.state_dict())


def _weight_shapes(architecture: Architecture) -> dict[str, int]:
    # No weight depends on the context length, so training may continue with longer or shorter windows.
    return {key: value for key, value in asdict(architecture).items() if key != "max_seq_length"}


def _summary(trainer: Trainer, tokens: TokenFiles, compute: Compute) -> str:
    fallback = " (fallback: no mirror could be reached)" if tokens.meta.source_fallback else ""
    compiled = ", compiled" if compute.compiled else ""
    return (
        f"corpus: {tokens.meta.source}{fallback}, "
        f"{len(tokens.train):,} training tokens, {len(tokens.val):,} validation tokens\n"
        f"model: {parameter_count(trainer.model):,} parameters; {trainer.batches.steps:,} steps/epoch, "
        f"{trainer.batches.tokens_per_step:,} tokens/step; "
        f"{compute.device}, {compute.precision} matmuls, {compute.threads} threads{compiled}"
    )
