"""gguf: one file with weights and tokenizer for llama.cpp."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import gguf
import numpy as np

from minimal_llm.export.source import Source, renamed_weights
from minimal_llm.export.vocabulary import Piece, vocabulary_pieces
from minimal_llm.model.transformer import NORM_EPSILON, ROPE_BASE

OUTER = {"embedding": "token_embd", "norm": "output_norm", "head": "output"}
LAYER = "blk.{}"
INNER = {
    "attention_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "out": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
TOKEN_TYPES = {
    "normal": gguf.TokenType.NORMAL,
    "unknown": gguf.TokenType.UNKNOWN,
    "control": gguf.TokenType.CONTROL,
    "byte": gguf.TokenType.BYTE,
}
# Of the tokenizers in llama.cpp this is the one that looks for the likeliest split and spells the rest in bytes:
# "llama" merges pairs, "t5" turns a line end into <unk>. It takes spaces as they are.
TOKENIZER = "plamo2"
# It rounds score * 10,000 to an integer; -1,000 is its score of an unknown character, below -2,000 nothing matches.
UNKNOWN_SCORE = -1000
NEVER_SCORE = -3000.0

USAGE = """\
from llama_cpp import Llama

model = Llama("model.gguf", n_ctx=0, verbose=False)
print(model("Once upon a time", max_tokens=50, temperature=0.8, top_k=40)["choices"][0]["text"])
"""
NOTE = """\
The file needs a llama.cpp that knows the tokenizer `plamo2`. Token ids are those of the SentencePiece model that it was
trained with, with two exceptions: a U+FEFF at the start of a text is dropped, and of two splits that are exactly as
likely (the same pieces in another order, `a` `d` `ada` and `ada` `d` `a`) the other may be taken. The programs of
llama.cpp do not put `<s>` before a text by themselves: `llama-cli -m model.gguf -n 50 -p '<s>Once upon a time'`."""


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each file of the export by its name; equal models give equal bytes.

    Raises:
        ConfigurationError: llama.cpp has no equal of the tokenizer.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        _add_architecture(writer, source)
        _add_tokenizer(writer, source)
        for name, weight in renamed_weights(source, OUTER, INNER, LAYER).items():
            writer.add_tensor(name, np.ascontiguousarray(weight))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return {path.name: path.read_bytes()}


def _add_architecture(writer: gguf.GGUFWriter, source: Source) -> None:
    shape = source.architecture
    writer.add_name("minimal-llm")
    writer.add_version(source.version)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.max_seq_length)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.d_model // shape.heads)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)


def _add_tokenizer(writer: gguf.GGUFWriter, source: Source) -> None:
    pieces = vocabulary_pieces(source.tokenizer)
    writer.add_tokenizer_model(TOKENIZER)
    writer.add_token_list([piece.text for piece in pieces])
    writer.add_token_scores(scaled_scores(pieces))
    writer.add_token_types([TOKEN_TYPES[piece.kind] for piece in pieces])
    writer.add_bos_token_id(source.tokenizer.bos_id)
    writer.add_eos_token_id(source.tokenizer.eos_id)
    writer.add_pad_token_id(source.tokenizer.eos_id)
    writer.add_unk_token_id(next(number for number, piece in enumerate(pieces) if piece.kind == "unknown"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def scaled_scores(pieces: list[Piece]) -> list[float]:
    """Return the scores times the largest power of two that leaves all above that of an unknown character.

    Only sums of scores are compared, so the factor changes nothing but how little the rounding loses.
    """
    worst = max(-piece.score for piece in pieces if piece.kind == "normal")
    factor = 2.0 ** math.floor(math.log2((-UNKNOWN_SCORE - 1) / max(worst, 1.0)))
    return [piece.score * factor if piece.kind == "normal" else NEVER_SCORE for piece in pieces]
