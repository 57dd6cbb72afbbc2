"""Format onnx: a graph for ONNX Runtime that decodes with a key-value cache.

    logits, cache = session.run(None, {"tokens": tokens, "past": cache})

tokens: (B, T) int64. past: (layers, 2, B, H, P, D) float32, with P = 0 at the start. logits: (B, V), of the next token.
present, the second output, is the past of the next call, with P + T positions; P + T is at most max_seq_length. The
metadata of the file contains the architecture. Letters are those of model/transformer.py.

Built by hand, so PyTorch need not be traced, and with one node per operation, so single tokens decode fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from minimal_llm import __version__
from minimal_llm.export.source import Source, layer_weights
from minimal_llm.inference.onnx_checksum import with_checksum
from minimal_llm.model.transformer import NORM_EPSILON, ROPE_BASE, Architecture

OPSET = 23  # the first with RMSNormalization, RotaryEmbedding and Attention; ONNX Runtime 1.24 takes an empty past
IR_VERSION = 11  # that of the ONNX release with this opset

USAGE = """\
import json
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else ONNX Runtime reports its use to its maker

import numpy as np
import onnxruntime
import sentencepiece

tokenizer = sentencepiece.SentencePieceProcessor(model_file="tokenizer.model")
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # more threads are slower for a model of this size
session = onnxruntime.InferenceSession("model.onnx", options)
metadata = json.loads(session.get_modelmeta().custom_metadata_map["minimal_llm"])
shape = metadata["architecture"]
ids = [tokenizer.bos_id(), *tokenizer.encode("Once upon a time")]
cache = np.zeros((shape["layers"], 2, 1, shape["heads"], 0, shape["d_model"] // shape["heads"]), np.float32)
new = ids
while len(ids) < 50 and new[-1] != tokenizer.eos_id():
    logits, cache = session.run(None, {"tokens": [new], "past": cache})
    new = [int(logits[0].argmax())]
    ids += new
print(tokenizer.decode(ids))
"""
NOTE = """\
The inputs are `tokens` (B, T) and `past` (layers, 2, B, heads, P, head size); the outputs are the logits (B, V) of the
next token and the `past` for the next call. P starts at 0, and P + T is at most the context length. sentencepiece
decodes a literal U+2581 as a space, its meaning in the vocabulary; minimal-llm encodes that character as bytes."""


class Graph:
    """The nodes and constants of a graph, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        # from_array uses the memory layout as it is, so a transposed view must be copied first.
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its first output; an input "" is omitted."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def norm(self, x: str, weight: NDArray[np.generic], name: str) -> str:
        gain = self.constant(f"{name}.weight", weight)
        return self.add("RMSNormalization", [x, gain], name, epsilon=NORM_EPSILON, axis=-1)

    def lookup(self, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Add a lookup of the rows of a (V, C) table by id."""
        return self.add("Gather", [self.constant(f"{name}.weight", table), ids], name)

    def project(self, x: str, weight: NDArray[np.float32], name: str) -> str:
        """Add a matmul with an (outputs, inputs) weight."""
        return self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], name)

    def project_by_table(self, x: str, table: str, name: str) -> str:
        """Add a matmul of (B, C) rows with the (V, C) table of an earlier lookup, which is stored once."""
        return self.add("Gemm", [x, f"{table}.weight"], name, transB=1)


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes."""
    return as_files(build(source, Graph()), source)


def as_files(model: ModelProto, source: Source) -> dict[str, bytes]:
    """Check a model, and return it and the tokenizer as the files of an export."""
    checker.check_model(model, full_check=True)
    return {
        "model.onnx": with_checksum(model.SerializeToString(deterministic=True)),
        "tokenizer.model": source.tokenizer.model,
    }


def build(source: Source, graph: Graph) -> ModelProto:
    """Build the model in an empty `graph` and return it with its metadata."""
    shape = source.architecture
    _add_cache_inputs(graph, shape)
    _add_rotary(graph, shape)
    x = graph.lookup(source.weights["embedding.weight"], "tokens", "embedding")
    for number in range(shape.layers):
        x = _add_layer(graph, source, number, x)
    last = graph.add("Gather", [x, graph.constant("last_index", np.array(-1))], "last", axis=1)  # (B, C)
    normed = graph.norm(last, source.weights["norm.weight"], "norm")
    if shape.tie_embeddings:
        graph.project_by_table(normed, "embedding", "logits")
    else:
        graph.project(normed, source.weights["head.weight"], "logits")
    graph.add("Concat", [f"present.{number}" for number in range(shape.layers)], "present", axis=0)
    return _wrap(graph, source)


def _add_cache_inputs(graph: Graph, shape: Architecture) -> None:
    """Split the past into past.N.key and past.N.value, each (B, H, P, D)."""
    graph.constant("stack_axes", np.array([0, 1]))
    layers = [f"past.{number}" for number in range(shape.layers)]
    graph.add("Split", ["past"], *layers, axis=0, num_outputs=shape.layers)
    for layer in layers:
        graph.add("Split", [layer], f"{layer}.keys", f"{layer}.values", axis=1, num_outputs=2)
        graph.add("Squeeze", [f"{layer}.keys", "stack_axes"], f"{layer}.key")
        graph.add("Squeeze", [f"{layer}.values", "stack_axes"], f"{layer}.value")


def _add_rotary(graph: Graph, shape: Architecture) -> None:
    """Look up cos and sin, each (B, T, D/2), for the positions P to P + T."""
    head_size = shape.d_model // shape.heads
    frequencies = ROPE_BASE ** (-np.arange(0, head_size, 2) / head_size)  # (D/2,)
    angles = np.outer(np.arange(shape.max_seq_length), frequencies)  # (max T, D/2)
    graph.constant("position_axis", np.array([0]))
    graph.constant("pairs", np.array([head_size // 2]))
    start = graph.add("Shape", ["past"], "start", start=4, end=5)
    stop = graph.add("Add", [start, graph.add("Shape", ["tokens"], "new", start=1, end=2)], "stop")
    wanted = graph.add("Concat", [graph.add("Shape", ["tokens"], "batch"), "pairs"], "wanted", axis=0)
    for name, table in (("cos", np.cos(angles)), ("sin", np.sin(angles))):
        graph.constant(f"{name}.table", table.astype(np.float32))
        # If the context is full, the slice ends beyond the table and is too short, and Expand fails.
        graph.add("Slice", [f"{name}.table", start, stop, "position_axis"], f"{name}.rows")
        graph.add("Expand", [f"{name}.rows", wanted], name)


def _add_layer(graph: Graph, source: Source, number: int, x: str) -> str:
    weights, name = layer_weights(source, number), f"layer.{number}"
    normed = graph.norm(x, weights["attention_norm"], f"{name}.attention_norm")
    fused = source.weights[f"blocks.{number}.attention.qkv.weight"]
    qkv = graph.project(normed, fused, f"{name}.qkv")
    heads = _add_attention(graph, source.architecture, number, qkv)
    attended = graph.add("Add", [x, graph.project(heads, weights["out"], f"{name}.out")], f"{name}.attended")
    normed = graph.norm(attended, weights["feed_forward_norm"], f"{name}.feed_forward_norm")
    fused = source.weights[f"blocks.{number}.feed_forward.gate_up.weight"]
    gated = _add_gate(graph, name, graph.project(normed, fused, f"{name}.gate_up"))
    return graph.add("Add", [attended, graph.project(gated, weights["down"], f"{name}.down")], f"{name}.fed")


def _add_attention(graph: Graph, shape: Architecture, number: int, qkv: str) -> str:
    """Return the attention output, (B, T, C), and stack keys and values as present.N, (1, 2, B, H, P + T, D)."""
    name, present = f"layer.{number}", f"present.{number}"
    graph.add("Split", [qkv], f"{name}.q", f"{name}.k", f"{name}.v", axis=-1, num_outputs=3)
    q, k = (
        graph.add(
            "RotaryEmbedding", [f"{name}.{x}", "cos", "sin"], f"{name}.{x}.turned", interleaved=1, num_heads=shape.heads
        )
        for x in "qk"
    )
    heads = {"q_num_heads": shape.heads, "kv_num_heads": shape.heads}
    inputs = [q, k, f"{name}.v", "", f"past.{number}.key", f"past.{number}.value"]
    outputs = [f"{name}.mixed", f"{present}.key", f"{present}.value"]
    graph.add("Attention", inputs, *outputs, is_causal=1, **heads)
    graph.add("Unsqueeze", [f"{present}.key", "stack_axes"], f"{present}.keys")
    graph.add("Unsqueeze", [f"{present}.value", "stack_axes"], f"{present}.values")
    graph.add("Concat", [f"{present}.keys", f"{present}.values"], present, axis=1)
    return f"{name}.mixed"


def _add_gate(graph: Graph, name: str, gate_up: str) -> str:
    graph.add("Split", [gate_up], f"{name}.gate", f"{name}.up", axis=-1, num_outputs=2)
    graph.add("Sigmoid", [f"{name}.gate"], f"{name}.sigmoid")
    graph.add("Mul", [f"{name}.gate", f"{name}.sigmoid"], f"{name}.silu")
    return graph.add("Mul", [f"{name}.silu", f"{name}.up"], f"{name}.gated")


def _wrap(graph: Graph, source: Source) -> ModelProto:
    shape = source.architecture
    cache = (shape.layers, 2, "B", shape.heads)
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["B", "T"]),
        helper.make_tensor_value_info("past", TensorProto.FLOAT, [*cache, "P", shape.d_model // shape.heads]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", shape.vocab_size]),
        helper.make_tensor_value_info("present", TensorProto.FLOAT, [*cache, "P + T", shape.d_model // shape.heads]),
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "minimal-llm", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minimal-llm",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"minimal_llm": source.metadata})
    return model
