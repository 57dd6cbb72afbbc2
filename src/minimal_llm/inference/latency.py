"""Statistics of next-token latencies: percentiles, and histograms with few bins for plots and CSV files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

# Logarithmic bins, 6 % wide: runtimes that differ tenfold fit on one axis, and a long tail does not squeeze the rest.
BINS_PER_DECADE = 40
SHORTEST_MS = 1e-3  # shorter ones count as this: a coarse clock may return zero

Histogram = dict[float, int]  # upper edge of a bin in milliseconds -> tokens


def percentile(latencies: Sequence[float], percent: int) -> float:
    """Return a percentile, always one of the latencies (no interpolation)."""
    return sorted(latencies)[len(latencies) * percent // 100]


def histogram(latencies_ms: Sequence[float]) -> Histogram:
    """Return how many latencies fall into each bin, with an empty bin at either end."""
    counts = Counter(math.ceil(BINS_PER_DECADE * math.log10(max(latency, SHORTEST_MS))) for latency in latencies_ms)
    return {_edge(number): counts[number] for number in range(min(counts) - 1, max(counts) + 2)}


def lower_edge(upper: float) -> float:
    """Return the lower edge of the bin with this upper edge."""
    return upper / 10 ** (1 / BINS_PER_DECADE)


def milliseconds(latency_ms: float) -> str:
    """Format a latency for reports and plots, without its unit."""
    return f"{latency_ms:.2f}" if latency_ms < 10 else f"{latency_ms:.1f}"


def histograms_csv(histograms: Mapping[str, Histogram]) -> str:
    """Return the histograms of several runtimes as CSV: runtime, milliseconds (upper edge of a bin), tokens."""
    lines = ["runtime,milliseconds,tokens"]
    for runtime, bins in histograms.items():
        lines += [f"{runtime},{edge:g},{tokens}" for edge, tokens in bins.items()]
    return "\n".join(lines) + "\n"


def _edge(number: int) -> float:
    return float(f"{10 ** (number / BINS_PER_DECADE):.4g}")
