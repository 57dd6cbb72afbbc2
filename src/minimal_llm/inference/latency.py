"""Next-token latencies as a histogram: few bins, so that a picture and a CSV file can hold them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

BINS_PER_DECADE = 40  # a bin is 6 % wide: runtimes that differ tenfold share the axis, a slow tail does not squeeze it
SHORTEST_MS = 1e-3  # what a coarse clock may give as zero

Histogram = dict[float, int]  # upper edge of a bin in milliseconds -> tokens


def histogram(latencies_ms: Sequence[float]) -> Histogram:
    """Return how many latencies fall into each bin, from the empty one below them to the empty one above."""
    counts = Counter(math.ceil(BINS_PER_DECADE * math.log10(max(latency, SHORTEST_MS))) for latency in latencies_ms)
    return {_edge(number): counts[number] for number in range(min(counts) - 1, max(counts) + 2)}


def lower_edge(upper: float) -> float:
    """Return where the bin that ends at `upper` begins."""
    return upper / 10 ** (1 / BINS_PER_DECADE)


def milliseconds(latency_ms: float) -> str:
    """Return a latency as pages and pictures say it, without its unit."""
    return f"{latency_ms:.2f}" if latency_ms < 10 else f"{latency_ms:.1f}"


def histograms_csv(histograms: Mapping[str, Histogram]) -> str:
    """Return the histograms of some runtimes as CSV: runtime, milliseconds (upper edge of a bin), tokens."""
    lines = ["runtime,milliseconds,tokens"]
    for runtime, bins in histograms.items():
        lines += [f"{runtime},{edge:g},{tokens}" for edge, tokens in bins.items()]
    return "\n".join(lines) + "\n"


def _edge(number: int) -> float:
    return float(f"{10 ** (number / BINS_PER_DECADE):.4g}")
