"""int8 weights: each row of a matrix as whole numbers from -127 to 127 and one scale.

Weight-only, symmetric, per row: a row holds the weights of one output (of one piece in embedding and head), whose sizes
differ between rows more than within one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = 127


def quantize_rows(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return the whole numbers, (N, K), and the scales, (N, 1), of an (N, K) matrix; their product is close to it."""
    scales = np.abs(weight).max(axis=1, keepdims=True) / LARGEST
    scales[scales == 0] = 1.0  # a row of zeros
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)
