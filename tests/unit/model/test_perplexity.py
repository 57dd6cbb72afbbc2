"""The loss of an evaluation is that of the whole model on each token, however the text is cut into windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minimal_llm.model.perplexity import evaluate
from minimal_llm.model.transformer import Architecture, TinyTransformer

SMALL = Architecture(vocab_size=50, layers=2, d_model=64, heads=4, feed_forward=128, max_seq_length=16)


@pytest.mark.parametrize("count", [2, 17, 1000], ids=["two tokens", "one window", "batches, and a rest"])
def test_every_token_but_the_first_is_predicted_once_by_the_whole_model(count: int) -> None:
    torch.manual_seed(0)
    model = TinyTransformer(SMALL)  # in training mode: evaluation must not depend on who set which mode
    tokens = np.random.default_rng(0).integers(0, 50, count).astype(np.uint16)
    length = SMALL.max_seq_length
    nats = 0.0
    for position in range(1, count):
        window = tokens[(position - 1) // length * length : position].astype(np.int64)
        logits = model(torch.from_numpy(window)[None])
        nats += F.cross_entropy(logits, torch.tensor([int(tokens[position])])).item()
    measured = evaluate(model, tokens)
    assert measured.tokens == count - 1
    assert measured.nats == pytest.approx(nats, rel=1e-4)
