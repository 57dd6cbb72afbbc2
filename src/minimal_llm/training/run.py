"""The train stage as one call: token files in, model files and metrics out."""

from __future__ import annotations

from minimal_llm.artifacts import Artifacts
from minimal_llm.config import Config
from minimal_llm.errors import TrainingError
from minimal_llm.hardware import choose_compute
from minimal_llm.model import parameter_count
from minimal_llm.model_file import save_model
from minimal_llm.token_files import TokenFiles, read_tokens
from minimal_llm.tokenizer import Tokenizer
from minimal_llm.training.checkpoint import Checkpoints, fingerprint, run_id, run_inputs
from minimal_llm.training.history import final_metrics, write_results, write_speed
from minimal_llm.training.loop import Trainer, copy_weights
from minimal_llm.training.runs import describe_run


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
    compute = choose_compute(config.train)
    identity = run_inputs(config, tokens)
    checkpoints = Checkpoints(outputs.checkpoints, fingerprint(identity, compute))
    checkpoints.clear_finished()
    with checkpoints.only_trainer():
        trainer = Trainer(config, tokens, tokenizer, compute, checkpoints)
        describe_run(checkpoints.folder, config, trainer.batches.steps)
        resumed = trainer.resume()
        fallback = " (fallback: no mirror could be reached)" if tokens.meta.source_fallback else ""
        print(
            f"corpus: {tokens.meta.source}{fallback}, "
            f"{len(tokens.train):,} training tokens, {len(tokens.val):,} validation tokens\n"
            f"model: {parameter_count(trainer.model):,} parameters; {trainer.batches.steps} steps an epoch of "
            f"{trainer.batches.tokens_per_step:,} tokens; {compute.precision} products, {compute.threads} threads"
        )
        if resumed:
            print(f"resuming after epoch {trainer.progress.epoch}, step {trainer.progress.step}")
        trainer.run()
        final_weights = copy_weights(trainer.model)
        trainer.model.load_state_dict(trainer.best_weights)
        trainer.model.set_product_dtype(compute.product_dtype)
        final = final_metrics(trainer.model, tokens, trainer.progress)
        save_model(outputs.best_model, trainer.model, tokenizer.sha256, trainer.best_weights)
        save_model(outputs.final_model, trainer.model, tokenizer.sha256, final_weights)
        write_results(outputs, config, tokens, run_id(identity), trainer.progress, final)
        write_speed(outputs, compute, trainer.progress)
        checkpoints.finish()


def check_tokenizer(tokens: TokenFiles, tokenizer: Tokenizer) -> None:
    """Raise TrainingError, with both hashes, if the token files were made by another tokenizer."""
    if tokens.meta.tokenizer_sha256 != tokenizer.sha256:
        raise TrainingError(
            f"the token files were made by tokenizer {tokens.meta.tokenizer_sha256[:12]}, "
            f"the one here is {tokenizer.sha256[:12]}",
            remedy="dvc repro tokenizer",
            kind="configuration",
        )
