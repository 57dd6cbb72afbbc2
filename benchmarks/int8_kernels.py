"""Which of ONNX Runtime's operators multiplies with int8 weights best: time of a token, size, distance of the logits.

python benchmarks/int8_kernels.py            # uses data/best_model.pt and its tokenizer
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from minimal_llm.common.errors import MinimalLlmError
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
Product = Callable[[Graph, str, Weight, str], str]


def few_bits(block: int, accuracy: int) -> Product:
    """Return MatMulNBits with a block size and a type of its sums: 1 fp32, 4 int8."""

    def product(graph: Graph, x: str, weight: Weight, name: str) -> str:
        outputs, inputs = weight.shape
        size = min(block, inputs)
        numbers, scales = quantize_rows(weight)
        stored = (numbers.astype(np.int16) + 128).astype(np.uint8).reshape(outputs, inputs // size, size)
        factors = np.repeat(scales, inputs // size, axis=1)
        operands = [x, graph.constant(f"{name}.q", stored), graph.constant(f"{name}.s", factors)]
        shape = {"K": inputs, "N": outputs, "bits": 8, "block_size": size}
        return graph.add("MatMulNBits", operands, name, domain=DOMAIN, accuracy_level=accuracy, **shape)

    return product


def dynamic(graph: Graph, x: str, weight: Weight, name: str) -> str:
    """Return DynamicQuantizeMatMul: what onnxruntime.quantization.quantize_dynamic makes of a product."""
    numbers, scales = quantize_rows(weight)
    operands = [x, graph.constant(f"{name}.q", numbers.T), graph.constant(f"{name}.s", scales[:, 0])]
    return graph.add("DynamicQuantizeMatMul", operands, name, domain=DOMAIN)


def cast(graph: Graph, x: str, weight: Weight, name: str) -> str:
    """Return weights cast to fp32 when the model is loaded: a small file, nothing else."""
    numbers, scales = quantize_rows(weight)
    floats = graph.add("Cast", [graph.constant(f"{name}.q", numbers.T)], f"{name}.float", to=1)
    product = graph.add("MatMul", [x, floats], f"{name}.product")
    return graph.add("Mul", [product, graph.constant(f"{name}.s", scales[:, 0])], name)


CANDIDATES: dict[str, Product | None] = {
    "fp32 MatMul": None,
    "MatMulNBits, fp32 sums, a block a row": few_bits(256, 1),
    "MatMulNBits, int8 sums, blocks of 32": few_bits(32, 4),
    "MatMulNBits, int8 sums, a block a row": few_bits(256, 4),
    "DynamicQuantizeMatMul": dynamic,
    "Cast when loading": cast,
}


class _Graph(Graph):
    def __init__(self, product: Product) -> None:
        super().__init__()
        self._product = product

    def project(self, x: str, weight: Weight, name: str) -> str:
        return self._product(self, x, weight, name)


def measure(source: Source, product: Product | None) -> tuple[float, float, Weight]:
    """Return megabytes, median microseconds of a token on one thread, and the logits after a fixed prompt."""
    model = graph.build(source, _Graph(product) if product else Graph())
    if product:
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


def main() -> int:
    """Print a row a candidate; return the exit code."""
    try:
        tokenizer = find_tokenizer_file(MODEL.parent, load_model(MODEL).tokenizer_sha256, MODEL)
        source = load_source(MODEL, tokenizer)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    reference = measure(source, None)[2]
    print("| operator | MB | us a token | largest change of a logit |\n| --- | ---: | ---: | ---: |")
    for name, product in CANDIDATES.items():
        size, microseconds, logits = measure(source, product)
        print(f"| {name} | {size:.2f} | {microseconds:.0f} | {np.abs(logits - reference).max():.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
