"""What a trained model looks like inside, measured: its attention to two sentences, what each head does, neighbours.

The weights are not in git, so what is measured is: docs/reference/inside.json, which the pictures are drawn from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minimal_llm.inference.runtime import find_tokenizer
from minimal_llm.model.model_file import load_model
from minimal_llm.model.transformer import Attention, Block, TinyTransformer, rotate
from minimal_llm.tokenizer.token_files import read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer

SENTENCES = {"en": "The king said that the king was dead.", "es": "El rey dijo que el rey había muerto."}
WORDS = ("king", "rey", "said", "dijo", "red", "Monday", "she", "nunca")
NEIGHBOURS = 5
WINDOWS, LENGTH = 128, 64  # of validation text, on which heads are measured


@torch.inference_mode()
def measure(model_path: Path) -> dict[str, Any]:
    """Return the content of inside.json for a model; its tokenizer and its token files are beside it."""
    loaded = load_model(model_path)
    tokenizer = find_tokenizer(model_path.parent, loaded.tokenizer_sha256, model_path)
    return {
        "model_md5": hashlib.md5(model_path.read_bytes(), usedforsecurity=False).hexdigest(),  # as in dvc.lock
        "sentences": {language: _attention(loaded.model, tokenizer, text) for language, text in SENTENCES.items()},
        "heads": _heads(loaded.model, _windows(model_path.parent, tokenizer)),
        "neighbours": {word: _neighbours(loaded.model, tokenizer, word) for word in WORDS},
    }


def attention_weights(model: TinyTransformer, tokens: Tensor) -> Tensor:
    """Return the (layers, B, H, T, T) attention weights for (B, T) token ids, without which the model would not do."""
    rotary = model.rotary[: tokens.shape[1]]
    x, layers = model.embedding(tokens), []
    for layer, block in enumerate(part for part in model.blocks if isinstance(part, Block)):
        layers.append(_weights(block.attention, block.attention_norm(x), rotary))
        x = block(x, rotary, None, layer, None)
    return torch.stack(layers)


def _weights(attention: Attention, x: Tensor, rotary: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) of the normed (B, T, C) input of an attention sublayer."""
    batch, length, width = x.shape
    qkv = attention.qkv(x).view(batch, length, 3, attention.heads, width // attention.heads)
    q, k = rotate(qkv[:, :, :2], rotary).permute(2, 0, 3, 1, 4).unbind()  # each (B, H, T, D)
    scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
    return torch.softmax(scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf), dim=-1)


def _attention(model: TinyTransformer, tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """Return the tokens of a text, and the weights by layer, head, position and earlier position."""
    ids = [tokenizer.bos_id, *tokenizer.encode(text)]
    weights = attention_weights(model, torch.tensor([ids]))[:, 0]
    rows = [
        [[[round(weight, 3) for weight in row[: end + 1]] for end, row in enumerate(head)] for head in layer]
        for layer in weights.tolist()
    ]
    return {"text": text, "tokens": ["<s>", *(tokenizer.decode([token]).strip() for token in ids[1:])], "weights": rows}


def _windows(folder: Path, tokenizer: Tokenizer) -> Tensor:
    """Return (B, T) windows spread evenly over the validation text, each after <s>."""
    ids = torch.from_numpy(read_tokens(folder / "tokens", ("val",)).val.astype("int64"))
    starts = torch.linspace(0, len(ids) - LENGTH, WINDOWS).long()
    windows = ids[starts[:, None] + torch.arange(LENGTH - 1)]
    return torch.cat([torch.full((WINDOWS, 1), tokenizer.bos_id), windows], dim=1)


def _heads(model: TinyTransformer, tokens: Tensor) -> list[dict[str, float]]:
    """Return, for each head, the mean share of attention that a token pays to some others, where there are such."""
    weights = attention_weights(model, tokens)  # (layers, B, H, T, T)
    earlier = torch.ones(LENGTH, LENGTH).tril(-1).bool()
    same = (tokens[:, :, None] == tokens[:, None, :]) & earlier  # the same token as this one
    seen_by = {
        "itself": torch.eye(LENGTH).bool().expand_as(same),
        "previous": torch.ones(LENGTH, LENGTH).tril(-1).triu(-1).bool().expand_as(same),
        "first": (torch.arange(LENGTH) == 0).expand_as(same) & earlier,
        "same": same,
        "after_same": torch.nn.functional.pad(same, (1, 0))[:, :, :-1] & earlier,
    }
    heads = []
    for layer, of_layer in enumerate(weights):
        for head in range(of_layer.shape[1]):
            shares = {}
            for name, mask in seen_by.items():
                paid = (of_layer[:, head] * mask).sum(dim=2)  # (B, T)
                shares[name] = round(float(paid[mask.any(dim=2)].mean()), 3)
            heads.append({"layer": layer + 1, "head": head + 1, **shares})
    return heads


def _neighbours(model: TinyTransformer, tokenizer: Tokenizer, word: str) -> list[list[Any]]:
    """Return the tokens whose embeddings point most nearly in the direction of that of a word, with their cosines."""
    ids = tokenizer.encode(f" {word}")
    if len(ids) != 1:
        raise SystemExit(f"error: {word!r} is {len(ids)} tokens of this tokenizer; choose another word in {__file__}")
    unit = torch.nn.functional.normalize(model.embedding.weight, dim=1)
    cosines = unit @ unit[ids[0]]
    best = cosines.topk(NEIGHBOURS + 1).indices.tolist()[1:]
    return [[tokenizer.decode([token]), round(float(cosines[token]), 3)] for token in best]


def table(neighbours: Mapping[str, Sequence[Sequence[Any]]]) -> str:
    """Return the neighbours as a table of a document."""
    lines = ["| token | nearest neighbors (cosine) |", "| --- | --- |"]
    for word, found in neighbours.items():
        lines.append(f"| {word} | " + ", ".join(f"{name.strip()} {cosine:.2f}" for name, cosine in found) + " |")
    return "\n".join(lines)
