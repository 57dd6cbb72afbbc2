"""hf: a folder that AutoModelForCausalLM and AutoTokenizer of transformers load as a Llama."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from minimal_llm.export.source import Source, Weight, renamed_weights
from minimal_llm.export.vocabulary import vocabulary_pieces
from minimal_llm.inference.sampling import Sampling
from minimal_llm.model.transformer import NORM_EPSILON, ROPE_BASE
from minimal_llm.tokenizer.tokenizer import Tokenizer

OUTER = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
LAYER = "model.layers.{}"
INNER = {
    "attention_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
# A text that spells a byte or control piece must not become it: cut off its first character.
SPELLED_PIECE = "<(?=(?:unk|/?s|0x[0-9A-F]{2})>)"

USAGE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
inputs = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0], skip_special_tokens=True))
"""
NOTE = "The token ids of any text are those of the SentencePiece model that it was trained with, `<s>` before them."


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each file of the export by its name; equal models give equal bytes.

    Raises:
        ConfigurationError: transformers has no equal of the tokenizer.
    """
    return {
        "config.json": _json(_config(source)),
        "generation_config.json": _json(_generation_config(source.tokenizer)),
        "model.safetensors": save(_weights(source), {"format": "pt"}),
        "tokenizer.json": _json(_tokenizer(source.tokenizer)),
        "tokenizer_config.json": _json(_tokenizer_config(source)),
    }


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _config(source: Source) -> dict[str, Any]:
    shape = source.architecture
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.max_seq_length,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_BASE,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": source.tokenizer.bos_id,
        "eos_token_id": source.tokenizer.eos_id,
        "torch_dtype": "float32",
    }


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    sampling = Sampling()
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.eos_id,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
    }


def _weights(source: Source) -> dict[str, Weight]:
    weights = renamed_weights(source, OUTER, INNER, LAYER)
    for name, weight in weights.items():
        if name.endswith((f"{INNER['q']}.weight", f"{INNER['k']}.weight")):
            weights[name] = halves_from_pairs(weight, source.architecture.heads)
    return {name: np.ascontiguousarray(weight) for name, weight in weights.items()}


def halves_from_pairs(weight: Weight, heads: int) -> Weight:
    """Return a (C, C) projection whose rotary pair i is rows (i, i + D/2) of each head, where it was (2i, 2i + 1)."""
    width = weight.shape[1]
    return weight.reshape(heads, -1, 2, width).swapaxes(1, 2).reshape(-1, width)


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    pieces = vocabulary_pieces(tokenizer)
    special = [(number, piece.text) for number, piece in enumerate(pieces) if piece.kind in ("unknown", "control")]
    begin = pieces[tokenizer.bos_id].text
    first, second = ([{"SpecialToken": {"id": begin, "type_id": n}}, _sequence(n)] for n in (0, 1))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(number, text) for number, text in special],
        # The pieces hold plain spaces, so nothing marks the spaces of a text and a mark in it is just a character.
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": SPELLED_PIECE},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": first,
            "pair": first + second,
            "special_tokens": {begin: {"id": begin, "ids": [tokenizer.bos_id], "tokens": [begin]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "Unigram",
            "unk_id": next(number for number, piece in enumerate(pieces) if piece.kind == "unknown"),
            "vocab": [[piece.text, piece.score] for piece in pieces],
            "byte_fallback": True,
        },
    }


def _sequence(number: int) -> dict[str, Any]:
    return {"Sequence": {"id": "AB"[number], "type_id": number}}


def _added_token(number: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}


def _tokenizer_config(source: Source) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "split_special_tokens": True,  # a text that spells <s> holds no <s>
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.architecture.max_seq_length,
    }
