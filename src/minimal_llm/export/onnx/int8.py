"""onnx-int8: the graph of onnx_format with int8 weights, embedding and head included; a quarter of the size.

The products are ONNX Runtime's operator for few-bit weights, which dequantizes a block of a row as it multiplies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from minimal_llm.export.onnx import graph
from minimal_llm.export.onnx.graph import USAGE as USAGE
from minimal_llm.export.onnx.quantization import quantize_rows
from minimal_llm.export.source import Source

DOMAIN = "com.microsoft"
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # that the operator takes; a block has one scale
INT8_SUMS = 4  # round activations to int8 as well, for the product alone: fourteen times as fast as not to
ZERO = 128  # how the operator writes a weight of 0
NOTE = (
    graph.NOTE
    + "\nThe weights are int8 with one scale a row. ONNX Runtime rounds what it multiplies them with to int8, too."
)


class _QuantizedGraph(graph.Graph):
    def lookup(self, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Gather rows and their scales, and multiply."""
        numbers, scales = quantize_rows(table)
        rows = self.add("Gather", [self.constant(f"{name}.int8", numbers), ids], f"{name}.rows")
        factors = self.add("Gather", [self.constant(f"{name}.scales", scales), ids], f"{name}.factors")
        return self.add("Mul", [self.add("Cast", [rows], f"{name}.cast", to=1), factors], name)

    def project(self, x: str, weight: NDArray[np.float32], name: str) -> str:
        """Add the product with a (outputs, inputs) weight, whose rows are stored as blocks of unsigned bytes."""
        outputs, inputs = weight.shape
        size = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << (inputs - 1).bit_length()))
        count = -(-inputs // size)
        numbers, scales = quantize_rows(weight)
        stored = np.full((outputs, count * size), ZERO, dtype=np.uint8)
        stored[:, :inputs] = (numbers.astype(np.int16) + ZERO).astype(np.uint8)
        operands = [
            x,
            self.constant(f"{name}.int8", stored.reshape(outputs, count, size)),
            self.constant(f"{name}.scales", np.repeat(scales, count, axis=1)),
        ]
        return self.add(
            "MatMulNBits",
            operands,
            name,
            domain=DOMAIN,
            K=inputs,
            N=outputs,
            bits=8,
            block_size=size,
            accuracy_level=INT8_SUMS,
        )


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each file of the export by its name; equal models give equal bytes."""
    model = graph.build(source, _QuantizedGraph())
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return graph.as_files(model, source)
