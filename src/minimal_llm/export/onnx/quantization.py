"""int8 quantization: weight-only, symmetric, with one scale per row.

A row has the weights of one output (of one token in the embedding and head); magnitudes vary more between rows than
within a row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = 127


def quantize_rows(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return the quantized values, (N, K), from -127 to 127, and the scales, (N, 1), of an (N, K) matrix."""
    scales = np.abs(weight).max(axis=1, keepdims=True) / LARGEST
    scales[scales == 0] = 1.0  # a row of zeros
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)
