"""How much better a model knows the text that it was trained on."""

from __future__ import annotations

from minimal_llm.dataset import training_sample
from minimal_llm.evaluation import Evaluation, evaluate, evaluate_spans
from minimal_llm.model import TinyTransformer
from minimal_llm.token_files import TokenFiles


def measure_losses(model: TinyTransformer, tokens: TokenFiles) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Return the evaluation of a sample of the training side as large as the validation side, and of the latter.

    Both with dropout off and the same weights, so that their difference is what the model learned by heart. It is
    larger than the gap of an epoch's record, whose training loss is a mean with dropout on, over weights that change.
    """
    parts = evaluate_spans(model, tokens.val, tokens.meta.val)
    sample = training_sample(tokens.train, len(tokens.val), model.architecture.max_seq_length)
    return evaluate(model, sample), parts
