"""The train stage as one call: token files in, model files and metrics out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.compute import Compute, choose_compute
from minimal_llm.common.config import Config
from minimal_llm.common.errors import TrainingError, ValidationError
from minimal_llm.common.unfinished_runs import describe_run
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, parameter_count
from minimal_llm.tokenizer.token_files import TokenFiles, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.batches import TrainingBatches
from minimal_llm.training.checkpoint import Checkpoints, checkpoint_root
from minimal_llm.training.identity import fingerprint, run_id, run_inputs
from minimal_llm.training.metrics import final_metrics, write_results, write_speed
from minimal_llm.training.step import architecture_of, copy_weights
from minimal_llm.training.trainer import Trainer


def train(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train on the token files below `inputs` and write the model and its metrics below `outputs`.

    An unfinished run of equal inputs is gone on with. The outputs are written when all is done, and only then.

    Raises:
        TrainingError, TokenizerError: the inputs cannot be used, or training cannot go on.
        Interrupted: a signal stopped it; the next call goes on from there.
    """
    tokenizer = Tokenizer.load(inputs.tokenizer_model)
    tokens = read_tokens(inputs.tokens)
    check_tokenizer(tokens, tokenizer)
    batches = TrainingBatches(tokens.train, config.train.batch_size, config.train.max_seq_length, config.seed)
    root = checkpoint_root(outputs)
    compute = choose_compute(config.train, config.train.epochs * batches.steps, root / "compiled")
    initial = initial_weights(config, tokens)
    identity = run_inputs(config, tokens)
    checkpoints = Checkpoints(root, fingerprint(identity, compute))
    checkpoints.clear_finished()
    with checkpoints.only_trainer():
        trainer = Trainer(config, tokens, batches, tokenizer, compute, checkpoints)
        if initial is not None:
            trainer.start_from(initial)
        describe_run(checkpoints.folder, config, batches.steps)
        resumed = trainer.resume()
        print(_describe(trainer, tokens, compute))
        if resumed:
            print(f"resuming after epoch {trainer.progress.epoch}, step {trainer.progress.step}", flush=True)
        trainer.run()
        final_weights = copy_weights(trainer.model)
        trainer.model.load_state_dict(trainer.best_weights)
        final = final_metrics(trainer.model, tokens, trainer.progress, identity["init_from_sha256"])
        save_model(outputs.best_model, trainer.model, tokenizer.sha256, trainer.best_weights)
        save_model(outputs.final_model, trainer.model, tokenizer.sha256, final_weights)
        write_results(outputs, config, tokens, run_id(identity), trainer.progress, final)
        write_speed(outputs, compute, trainer.progress, batches.steps * batches.tokens_per_step)
        checkpoints.finish()


def _describe(trainer: Trainer, tokens: TokenFiles, compute: Compute) -> str:
    fallback = " (fallback: no mirror could be reached)" if tokens.meta.source_fallback else ""
    how = f"{compute.precision} products, {compute.threads} threads" + (", compiled" if compute.compiled else "")
    return (
        f"corpus: {tokens.meta.source}{fallback}, "
        f"{len(tokens.train):,} training tokens, {len(tokens.val):,} validation tokens\n"
        f"model: {parameter_count(trainer.model):,} parameters; {trainer.batches.steps} steps an epoch of "
        f"{trainer.batches.tokens_per_step:,} tokens; {compute.device}, {how}"
    )


def check_tokenizer(tokens: TokenFiles, tokenizer: Tokenizer) -> None:
    """Raise TrainingError, with both hashes, if the token files were made by another tokenizer."""
    if tokens.meta.tokenizer_sha256 != tokenizer.sha256:
        raise TrainingError(
            f"the token files were made by tokenizer {tokens.meta.tokenizer_sha256[:12]}, "
            f"the one here is {tokenizer.sha256[:12]}",
            remedy="dvc repro tokenizer",
            kind="configuration",
        )


def initial_weights(config: Config, tokens: TokenFiles) -> dict[str, Tensor] | None:
    """Return the weights of the model that train.init_from names, or None if it is empty.

    Raises:
        TrainingError: the file is no model, or one of another tokenizer or architecture.
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
    theirs = {"tokenizer": loaded.tokenizer_sha256[:12], **_weights_shape(loaded.model.architecture)}
    ours = {"tokenizer": tokens.meta.tokenizer_sha256[:12], **_weights_shape(architecture_of(config, tokens))}
    if theirs != ours:
        sides = [f"{key} {theirs[key]} there, {ours[key]} here" for key in ours if theirs[key] != ours[key]]
        raise TrainingError(
            f"train.init_from: {path} does not fit this run: {'; '.join(sides)}",
            remedy="use the same tokenizer and the same model.* parameters as that model, or leave it empty",
            kind="configuration",
        )
    return dict(loaded.model.state_dict())


def _weights_shape(architecture: Architecture) -> dict[str, int]:
    # The context length is no shape of the weights: a model may go on with longer or shorter windows.
    return {key: value for key, value in asdict(architecture).items() if key != "max_seq_length"}
