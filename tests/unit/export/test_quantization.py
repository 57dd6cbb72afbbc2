from __future__ import annotations

import numpy as np

from minimal_llm.export.onnx.quantization import quantize_rows


def test_a_dequantized_weight_is_within_half_a_step_of_its_row() -> None:
    weight = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    weight[3] *= 1000  # a large row does not affect the others
    weight[7] = 0
    values, scales = quantize_rows(weight)
    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max() == 127
    assert (np.abs(values * scales - weight) <= scales / 2 * 1.0001).all()
    assert not values[7].any()
