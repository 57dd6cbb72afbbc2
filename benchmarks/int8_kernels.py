"""Compare ONNX Runtime's operators for matmuls with int8 weights: time per token, file size, error of the logits.

python benchmarks/int8_kernels.py            # uses data/best_model.pt and its tokenizer
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it reports its use to its maker
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from results import exit_code

from minimal_llm.export.onnx import graph
from minimal_llm.export.onnx.graph import Graph
from minimal_llm.export.onnx.quantization import quantize_rows
from minimal_llm.export.source import Source, load_source
from minimal_llm.inference.runtime import find_tokenizer_file
from minimal_llm.model.model_file import load_model

DOMAIN = "com.microsoft"
MODEL = Path("data/best_model.pt")
TOKENS = 110
Weight = NDArray[np.float32]
Matmul = Callable[[Graph, str, Weight, str], str]


def few_bits(block: int, accuracy: int) -> Matmul:
    """Return a matmul with MatMulNBits, for a block size and a type of activations: 1 is fp32, 4 is int8."""

    def matmul(graph: Graph, x: str, weight: Weight, name: str) -> str:
        outputs, inputs = weight.shape
        size = min(block, inputs)
        values, scales = quantize_rows(weight)
        stored = (values.astype(np.int16) + 128).astype(np.uint8).reshape(outputs, inputs // size, size)
        factors = np.repeat(scales, inputs // size, axis=1)
        operands = [x, graph.constant(f"{name}.q", stored), graph.constant(f"{name}.s", factors)]
        shape = {"K": inputs, "N": outputs, "bits": 8, "block_size": size}
        return graph.add("MatMulNBits", operands, name, domain=DOMAIN, accuracy_level=accuracy, **shape)

    return matmul


def dynamic(graph: Graph, x: str, weight: Weight, name: str) -> str:
    """Add DynamicQuantizeMatMul, which onnxruntime.quantization.quantize_dynamic uses for matmuls."""
    values, scales = quantize_rows(weight)
    operands = [x, graph.constant(f"{name}.q", values.T), graph.constant(f"{name}.s", scales[:, 0])]
    return graph.add("DynamicQuantizeMatMul", operands, name, domain=DOMAIN)


def cast(graph: Graph, x: str, weight: Weight, name: str) -> str:
    """Add a MatMul with weights that are cast to fp32 when the model is loaded: this only makes the file smaller."""
    values, scales = quantize_rows(weight)
    floats = graph.add("Cast", [graph.constant(f"{name}.q", values.T)], f"{name}.float", to=1)
    matmul = graph.add("MatMul", [x, floats], f"{name}.matmul")
    return graph.add("Mul", [matmul, graph.constant(f"{name}.s", scales[:, 0])], name)


CANDIDATES: dict[str, Matmul | None] = {
    "fp32 MatMul": None,
    "MatMulNBits, fp32 activations, one block per row": few_bits(256, 1),
    "MatMulNBits, int8 activations, blocks of 32": few_bits(32, 4),
    "MatMulNBits, int8 activations, one block per row": few_bits(256, 4),
    "DynamicQuantizeMatMul": dynamic,
    "Cast on loading": cast,
}


class _Graph(Graph):
    def __init__(self, matmul: Matmul) -> None:
        super().__init__()
        self._matmul = matmul

    def project(self, x: str, weight: Weight, name: str) -> str:
        return self._matmul(self, x, weight, name)


def measure(source: Source, matmul: Matmul | None) -> tuple[float, float, Weight]:
    """Return the file size in MB, median microseconds per token on one thread, and the logits after a fixed prompt."""
    model = graph.build(source, _Graph(matmul) if matmul else Graph())
    if matmul:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options)
    shape = source.architecture
    past = np.zeros((shape.layers, 2, 1, shape.heads, 0, shape.d_model // shape.heads), np.float32)
    logits, past = session.run(None, {"tokens": [[1, 5, 9, 100, 33]], "past": past})
    seconds = []
    for number in range(TOKENS):
        started = time.perf_counter()
        _, past = session.run(None, {"tokens": [[7 + number]], "past": past})
        seconds.append(time.perf_counter() - started)
    return len(content) / 1e6, 1e6 * float(np.median(seconds)), logits


def main() -> None:
    """Print a table with one row per candidate."""
    source = load_source(MODEL, find_tokenizer_file(MODEL.parent, load_model(MODEL).tokenizer_sha256, MODEL))
    reference = measure(source, None)[2]
    print("| operator | MB | us per token | largest change of a logit |\n| --- | ---: | ---: | ---: |")
    for name, matmul in CANDIDATES.items():
        size, microseconds, logits = measure(source, matmul)
        print(f"| {name} | {size:.2f} | {microseconds:.0f} | {np.abs(logits - reference).max():.2f} |")


if __name__ == "__main__":
    sys.exit(exit_code(main))
