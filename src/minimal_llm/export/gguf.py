"""Format gguf: one file with weights and tokenizer, for llama.cpp, and a Modelfile for Ollama."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict
from pathlib import Path

import gguf
import numpy as np

from minimal_llm.export.source import Source, renamed_weights
from minimal_llm.export.vocabulary import Entry, vocabulary_entries
from minimal_llm.inference.sampling import Sampling
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
# The only tokenizer in llama.cpp that does unigram tokenization with byte fallback: "llama" merges pairs, "t5" turns a
# line break into <unk>. It leaves spaces as they are.
TOKENIZER = "plamo2"
# It rounds score * 10,000 to an integer, gives an unknown character -1,000, and never matches entries below -2,000.
UNKNOWN_SCORE = -1000
NEVER_SCORE = -3000.0

USAGE = """\
from llama_cpp import Llama

model = Llama("model.gguf", n_ctx=0, verbose=False)
print(model("Once upon a time", max_tokens=50, temperature=0.8, top_k=40)["choices"][0]["text"])
"""
NOTE = """\
Requires a version of llama.cpp that supports the `plamo2` tokenizer. Token ids match those of the SentencePiece model
used in training, with two exceptions: a U+FEFF at the start of a text is dropped, and a text with two equally likely
tokenizations (the same tokens in another order, such as `a` `d` `ada` and `ada` `d` `a`) may get the other one. The
llama.cpp programs do not add `<s>` to a prompt themselves, so these commands do:

| to | command |
| --- | --- |
| write in a terminal | `llama-cli -m model.gguf -n 50 -p '<s>Once upon a time'` |
| serve OpenAI's API on port 8080 | `llama-server -m model.gguf --host 127.0.0.1` |
| ask that server | `curl 127.0.0.1:8080/v1/completions -d '{"prompt": "<s>Once upon a time", "max_tokens": 50}'` |
| do without an installation ([llamafile](https://github.com/mozilla-ai/llamafile)) | \
`llamafile -m model.gguf -n 50 -p '<s>Once upon a time'` |
| use it in Ollama | `ollama create minimal-llm -f Modelfile && ollama run minimal-llm 'Once upon a time'` |"""
MODELFILE = """\
# For Ollama: ollama create minimal-llm -f Modelfile
FROM ./model.gguf
TEMPLATE "<s>{{{{ .Prompt }}}}"
PARAMETER num_ctx {context}
PARAMETER temperature {temperature}
PARAMETER top_k {top_k}
PARAMETER top_p {top_p}
PARAMETER min_p {min_p}
PARAMETER repeat_penalty {repeat_penalty}
"""


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes.

    Raises:
        ConfigurationError: llama.cpp has no equivalent of the tokenizer.
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
        modelfile = MODELFILE.format(context=source.architecture.max_seq_length, **asdict(Sampling()))
        return {path.name: path.read_bytes(), "Modelfile": modelfile.encode()}


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
    entries = vocabulary_entries(source.tokenizer)
    writer.add_tokenizer_model(TOKENIZER)
    writer.add_token_list([entry.text for entry in entries])
    writer.add_token_scores(scaled_scores(entries))
    writer.add_token_types([TOKEN_TYPES[entry.kind] for entry in entries])
    writer.add_bos_token_id(source.tokenizer.bos_id)
    writer.add_eos_token_id(source.tokenizer.eos_id)
    writer.add_pad_token_id(source.tokenizer.eos_id)
    writer.add_unk_token_id(next(number for number, entry in enumerate(entries) if entry.kind == "unknown"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def scaled_scores(entries: list[Entry]) -> list[float]:
    """Return the scores scaled by the largest power of two that keeps all of them above an unknown character's.

    llama.cpp only compares sums of scores, so the factor just reduces what is lost to rounding.
    """
    worst = max(-entry.score for entry in entries if entry.kind == "normal")
    factor = 2.0 ** math.floor(math.log2((-UNKNOWN_SCORE - 1) / max(worst, 1.0)))
    return [entry.score * factor if entry.kind == "normal" else NEVER_SCORE for entry in entries]
