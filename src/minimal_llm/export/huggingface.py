"""Format hf: a folder that AutoModelForCausalLM and AutoTokenizer of transformers load as a Llama model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from minimal_llm.export.source import Source, Weight, renamed_weights
from minimal_llm.export.vocabulary import vocabulary_entries
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
# Text that spells out a byte or control token must not become that token: split off its first character.
SPELLED_OUT = "<(?=(?:unk|/?s|0x[0-9A-F]{2})>)"

USAGE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
inputs = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0], skip_special_tokens=True))
"""
NOTE = "Token ids match those of the SentencePiece model used in training, with `<s>` prepended."


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes.

    Raises:
        ConfigurationError: transformers has no equivalent of the tokenizer.
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
        "tie_word_embeddings": shape.tie_embeddings,
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
    """Reorder the rows of a (C, C) projection: rotary pair i of a head moves from rows (2i, 2i + 1) to (i, i + D/2)."""
    width = weight.shape[1]
    return weight.reshape(heads, -1, 2, width).swapaxes(1, 2).reshape(-1, width)


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    entries = vocabulary_entries(tokenizer)
    special = [(number, entry.text) for number, entry in enumerate(entries) if entry.kind in ("unknown", "control")]
    begin = entries[tokenizer.bos_id].text
    first, second = ([{"SpecialToken": {"id": begin, "type_id": n}}, _sequence(n)] for n in (0, 1))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(number, text) for number, text in special],
        # The vocabulary has plain spaces, so text needs no space markers and a U+2581 in it is an ordinary character.
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": SPELLED_OUT},
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
            "unk_id": next(number for number, entry in enumerate(entries) if entry.kind == "unknown"),
            "vocab": [[entry.text, entry.score] for entry in entries],
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
        "split_special_tokens": True,  # "<s>" in a text is not the token <s>
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.architecture.max_seq_length,
    }
