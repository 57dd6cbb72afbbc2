from __future__ import annotations

import pytest

from minimal_llm.inference.latency import percentile


@pytest.mark.parametrize(("count", "p50", "p95"), [(1, 1, 1), (2, 2, 2), (20, 11, 20), (100, 51, 96), (300, 151, 286)])
def test_a_percentile_is_one_of_the_latencies_in_whatever_order_they_come(count: int, p50: float, p95: float) -> None:
    latencies = [float(n) for n in range(count, 0, -1)]
    assert (percentile(latencies, 50), percentile(latencies, 95)) == (p50, p95)
