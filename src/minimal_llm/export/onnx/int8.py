"""Format onnx-int8: the graph of format onnx with int8 weights, including embedding and head; a quarter of the size.

Matmuls use MatMulNBits, ONNX Runtime's operator for quantized weights, which dequantizes them block by block.
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
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # limits of the operator; each block has one scale
INT8_ACTIVATIONS = 4  # also round activations to int8 in each matmul: fourteen times as fast
ZERO = 128  # the stored value of a weight of 0
NOTE = (
    graph.NOTE
    + "\nThe weights are int8 with one scale per row. ONNX Runtime also rounds activations to int8 in each matmul."
)


class _QuantizedGraph(graph.Graph):
    def lookup(self, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Gather rows and their scales, and multiply them."""
        values, scales = quantize_rows(table)
        rows = self.add("Gather", [self.constant(f"{name}.int8", values), ids], f"{name}.rows")
        factors = self.add("Gather", [self.constant(f"{name}.scales", scales), ids], f"{name}.factors")
        return self.add("Mul", [self.add("Cast", [rows], f"{name}.cast", to=1), factors], name)

    def project(self, x: str, weight: NDArray[np.float32], name: str) -> str:
        """Add a matmul with an (outputs, inputs) weight, whose rows are stored as blocks of unsigned bytes."""
        outputs, inputs = weight.shape
        size = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << (inputs - 1).bit_length()))
        count = -(-inputs // size)
        values, scales = quantize_rows(weight)
        stored = np.full((outputs, count * size), ZERO, dtype=np.uint8)
        stored[:, :inputs] = (values.astype(np.int16) + ZERO).astype(np.uint8)
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
            accuracy_level=INT8_ACTIVATIONS,
        )


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes."""
    model = graph.build(source, _QuantizedGraph())
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return graph.as_files(model, source)
