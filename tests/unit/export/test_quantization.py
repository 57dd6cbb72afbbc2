from __future__ import annotations

import numpy as np

from minimal_llm.export.onnx.quantization import quantize_rows


def test_a_weight_comes_back_within_half_a_step_of_its_row() -> None:
    weight = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    weight[3] *= 1000  # a large row costs the others nothing
    weight[7] = 0
    numbers, scales = quantize_rows(weight)
    assert numbers.dtype == np.int8
    assert np.abs(numbers.astype(int)).max() == 127
    assert (np.abs(numbers * scales - weight) <= scales / 2 * 1.0001).all()
    assert not numbers[7].any()
