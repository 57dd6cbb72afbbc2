from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from minimal_llm.model.transformer import (
    LONGEST_PLAIN_ATTENTION,
    Architecture,
    KVCache,
    TinyTransformer,
    attend,
    dropout_masks,
    parameter_count,
    rotary_table,
    rotate,
)

DEFAULTS = Architecture(
    vocab_size=8000, layers=2, d_model=128, heads=4, feed_forward=256, tie_embeddings=True, max_seq_length=128
)
SMALL = Architecture(
    vocab_size=50, layers=2, d_model=64, heads=4, feed_forward=128, tie_embeddings=True, max_seq_length=16
)


@pytest.fixture
def model() -> TinyTransformer:
    torch.manual_seed(0)
    return TinyTransformer(SMALL).eval()


def test_the_default_model_has_the_documented_number_of_parameters() -> None:
    assert parameter_count(TinyTransformer(DEFAULTS)) == 1_352_320
    assert parameter_count(TinyTransformer(replace(DEFAULTS, tie_embeddings=False))) == 2_376_320


def test_a_tied_model_writes_with_the_table_that_it_reads_with(model: TinyTransformer) -> None:
    tokens = torch.randint(50, (2, 16))
    expected = model.hidden(tokens)[:, -1] @ model.embedding.weight.t()
    assert torch.allclose(model(tokens), expected, atol=1e-6)
    assert "head.weight" not in model.state_dict()


def test_an_untrained_model_predicts_a_nearly_uniform_distribution() -> None:
    torch.manual_seed(0)
    logits = TinyTransformer(replace(SMALL, tie_embeddings=False))(torch.randint(50, (8, 16)))
    assert logits.shape == (8, 50)
    assert torch.allclose(torch.softmax(logits, -1), torch.tensor(1 / 50), atol=0.02)


def test_attention_is_causal(model: TinyTransformer) -> None:
    tokens = torch.randint(50, (1, 16))
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 50
    before, after = model.hidden(tokens), model.hidden(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


@pytest.mark.parametrize("prefix", [1, 5, 15])
def test_logits_with_a_cache_equal_logits_without(model: TinyTransformer, prefix: int) -> None:
    tokens = torch.randint(50, (2, 16))
    cache = KVCache(SMALL, batch_size=2)
    logits = model(tokens[:, :prefix], cache)
    for position in range(prefix, 16):
        assert torch.allclose(logits, model(tokens[:, :position]), atol=1e-5)
        logits = model(tokens[:, position : position + 1], cache)
    assert torch.allclose(logits, model(tokens), atol=1e-5)


def test_rotary_attention_scores_depend_only_on_the_distance() -> None:
    q, k = torch.randn(16), torch.randn(16)
    both = torch.stack((q, k)).view(1, 1, 2, 1, 16).expand(1, 12, 2, 1, 16)  # (B, T, 2, H, D)
    rotated_q, rotated_k = rotate(both, rotary_table(12, 16))[0, :, :, 0].unbind(1)  # each (T, D)
    scores = rotated_q @ rotated_k.t()
    assert torch.allclose(scores.diagonal(3), scores.diagonal(3)[0].expand(9), atol=1e-5)
    assert torch.allclose(rotated_q.norm(dim=-1), q.norm().expand(12), atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, LONGEST_PLAIN_ATTENTION, LONGEST_PLAIN_ATTENTION + 1])
def test_attention_equals_a_softmax_over_the_scores_of_earlier_positions(length: int) -> None:
    q, k, v = torch.randn(3, 1, 2, length, 8).unbind()
    expected = torch.empty_like(v)
    for position in range(length):
        scores = (k[0, :, : position + 1] * q[0, :, position : position + 1]).sum(-1) / 8**0.5
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        expected[0, :, position] = (weights.unsqueeze(-1) * v[0, :, : position + 1]).sum(1)
    assert torch.allclose(attend(q, k, v), expected, atol=1e-5)


def test_dropout_zeroes_the_given_rate_keeps_the_mean_and_depends_on_the_seed() -> None:
    tokens = torch.Size((7, 16))
    masks = dropout_masks(SMALL, tokens, 0.2, 7, torch.float32)
    assert masks is not None
    assert masks.shape == (5, 7, 16, 64)
    assert torch.equal(masks, dropout_masks(SMALL, tokens, 0.2, 7, torch.float32))
    assert not torch.equal(masks, dropout_masks(SMALL, tokens, 0.2, 8, torch.float32))
    assert abs((masks == 0).float().mean().item() - 0.2) < 0.01
    assert abs(masks.mean().item() - 1) < 0.01
    assert dropout_masks(SMALL, tokens, 0.0, 7, torch.float32) is None


def test_each_dropout_mask_applies_to_its_own_sublayer(model: TinyTransformer) -> None:
    tokens = torch.randint(50, (2, 16))
    ones = torch.ones(5, 2, 16, 64)
    assert torch.equal(model.hidden(tokens, dropout=ones), model.hidden(tokens))
    for layer in range(5):
        masks = ones.clone()
        masks[layer] = 0
        assert not torch.allclose(model.hidden(tokens, dropout=masks), model.hidden(tokens), atol=1e-3)
    masks = torch.zeros_like(ones)
    masks[0] = 1
    assert torch.allclose(model.hidden(tokens, dropout=masks), model.norm(model.embedding(tokens)))


def test_bf16_matmuls_stay_close_to_fp32(model: TinyTransformer) -> None:
    tokens = torch.randint(50, (2, 16))
    exact = model.hidden(tokens)
    model.set_matmul_dtype(torch.bfloat16)
    rounded = model.hidden(tokens)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.05)
