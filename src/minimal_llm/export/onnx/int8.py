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
    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, tuple[int, int]] = {}  # (outputs, inputs) of each stored weight

    def lookup(self, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Gather rows and the scales of their blocks, and multiply them."""
        self._store(table, name)
        self.constant(f"{name}.zero", np.array(ZERO, dtype=np.float32))
        self.constant(f"{name}.block_axis", np.array([-1]))
        self.constant(f"{name}.flat", np.array([0, 0, -1]))  # (B, T, all blocks)
        for bound, value in (("from", 0), ("to", table.shape[1])):
            self.constant(f"{name}.{bound}", np.array([value]))
        rows = self.add("Gather", [f"{name}.int8", ids], f"{name}.rows")  # (B, T, blocks, block size)
        numbers = self.add("Sub", [self.add("Cast", [rows], f"{name}.cast", to=1), f"{name}.zero"], f"{name}.numbers")
        factors = self.add("Gather", [f"{name}.scales", ids], f"{name}.factors")  # (B, T, blocks)
        factors = self.add("Unsqueeze", [factors, f"{name}.block_axis"], f"{name}.by_block")
        blocks = self.add("Mul", [numbers, factors], f"{name}.blocks")
        flat = self.add("Reshape", [blocks, f"{name}.flat"], f"{name}.padded")
        return self.add("Slice", [flat, f"{name}.from", f"{name}.to", f"{name}.block_axis"], name)

    def project(self, x: str, weight: NDArray[np.float32], name: str) -> str:
        """Add a matmul with an (outputs, inputs) weight."""
        self._store(weight, name)
        return self.project_by_table(x, name, name)

    def project_by_table(self, x: str, table: str, name: str) -> str:
        """Add a matmul with a stored weight, such as that of an earlier lookup."""
        outputs, inputs = self._shapes[table]
        return self.add(
            "MatMulNBits",
            [x, f"{table}.int8", f"{table}.scales"],
            name,
            domain=DOMAIN,
            K=inputs,
            N=outputs,
            bits=8,
            block_size=_block_size(inputs),
            accuracy_level=INT8_ACTIVATIONS,
        )

    def _store(self, weight: NDArray[np.float32], name: str) -> None:
        """Store the rows of an (outputs, inputs) weight as blocks of unsigned bytes, and the scale of each block."""
        outputs, inputs = self._shapes[name] = weight.shape
        size = _block_size(inputs)
        count = -(-inputs // size)
        values, scales = quantize_rows(weight)
        stored = np.full((outputs, count * size), ZERO, dtype=np.uint8)
        stored[:, :inputs] = (values.astype(np.int16) + ZERO).astype(np.uint8)
        self.constant(f"{name}.int8", stored.reshape(outputs, count, size))
        self.constant(f"{name}.scales", np.repeat(scales, count, axis=1))


def _block_size(inputs: int) -> int:
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << (inputs - 1).bit_length()))


def files(source: Source) -> dict[str, bytes]:
    """Return the content of each exported file by name; the same model gives the same bytes."""
    model = graph.build(source, _QuantizedGraph())
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return graph.as_files(model, source)
