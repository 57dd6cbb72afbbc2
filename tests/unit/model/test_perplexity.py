"""The loss of an evaluation is that of the whole model on each token, however the text is cut into windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minimal_llm.model import perplexity
from minimal_llm.model.perplexity import evaluate, measure_losses
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.token_files import Ids, Span, TokenFiles, TokenMeta

SMALL = Architecture(
    vocab_size=50, layers=2, d_model=64, heads=4, feed_forward=128, tie_embeddings=True, max_seq_length=16
)


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


def test_the_batch_of_an_evaluation_does_not_grow_with_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, int]] = []

    def none(_tokens: Ids, *shape: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batches.append((shape[0], shape[1]))
        return iter(())

    monkeypatch.setattr(perplexity, "evaluation_batches", none)
    for length in (32, 128, 512, 2048):
        evaluate(TinyTransformer(replace(SMALL, max_seq_length=length)), np.arange(9, dtype=np.uint16))
    assert batches == [(32, 32), (32, 128), (8, 512), (2, 2048)]


@pytest.mark.parametrize(("limit", "sampled"), [(2000, 800), (320, 320)], ids=["a small corpus", "a large corpus"])
def test_the_gap_takes_as_much_training_text_as_validation_text_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int, sampled: int
) -> None:
    ids = np.random.default_rng(0).integers(0, 50, 5000).astype(np.uint16)
    val = (Span(language="en", first=0, tokens=800, bytes=3000),)
    meta = TokenMeta(
        source="files", source_fallback=False, tokenizer_sha256="", vocab_size=50, bos_id=1, eos_id=2, dtype="uint16",
        train=(), val=val, test=(),
    )  # fmt: skip
    monkeypatch.setattr(perplexity, "EXCERPT_TOKENS", limit)
    sample, by_language = measure_losses(TinyTransformer(SMALL), TokenFiles(meta, {"train": ids, "val": ids[:800]}, {}))
    assert sample.tokens == sampled - 1
    assert by_language["en"].tokens == 799
