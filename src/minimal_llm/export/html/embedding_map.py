"""A map of token embeddings in two dimensions: t-SNE (van der Maaten and Hinton 2008), exact and deterministic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERPLEXITY = 15.0  # about how many neighbours a token is kept close to
STEPS = 600
EXAGGERATED = 150  # steps in which neighbours attract each other more, so that groups form
EXAGGERATION = 12.0
POWER_STEPS = 100
LARGEST = 1000  # coordinates are integers from -LARGEST to LARGEST

Matrix = NDArray[np.float64]


def embedding_map(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (N, 2) coordinates of (N, C) vectors, such that vectors in similar directions are close to each other.

    Starts from the two principal components, so that nothing is random.
    """
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.sqrt((unit**2).sum(axis=1, keepdims=True)), 1e-12)
    affinities = _affinities(np.maximum(2 - 2 * _times(unit, unit.T), 0))
    place = _principal_components(unit)
    place *= 1e-4 / np.maximum(place.std(axis=0), 1e-12)
    rate, speed, gains = max(50.0, len(unit) / EXAGGERATION / 4), np.zeros_like(place), np.ones_like(place)
    for step in range(STEPS):
        momentum, factor = (0.5, EXAGGERATION) if step < EXAGGERATED else (0.8, 1.0)
        gradient = _gradient(place, affinities * factor)
        gains = np.maximum(np.where(gradient * speed < 0, gains + 0.2, gains * 0.8), 0.01)
        speed = momentum * speed - rate * gains * gradient
        place = place + speed
    place -= place.mean(axis=0)
    scaled: Matrix = place * (LARGEST / max(float(np.abs(place).max()), 1e-12))
    return np.rint(scaled).astype(np.int64)


def _affinities(distances: Matrix) -> Matrix:
    """Return symmetric probabilities of being neighbours, each row with the same perplexity before it."""
    count = len(distances)
    low, high = np.zeros(count), np.full(count, np.inf)
    precision = np.ones(count)
    perplexity = min(PERPLEXITY, max(1.0, (count - 1) / 3))
    for _ in range(60):
        weights = np.exp(-distances * precision[:, None])
        np.fill_diagonal(weights, 0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + high) / 2)
    return np.maximum((weights + weights.T) / (2 * count), 1e-12)


def _principal_components(unit: Matrix) -> Matrix:
    """Return the coordinates along the two directions of largest variance, found by power iteration."""
    rest = unit - unit.mean(axis=0)
    columns = []
    for _ in range(2):
        direction = np.ones(unit.shape[1])
        for _ in range(POWER_STEPS):
            direction = _times(rest.T, _times(rest, direction[:, None]))[:, 0]
            direction /= max(float(np.sqrt((direction**2).sum())), 1e-12)
        columns.append(_times(rest, direction[:, None]))
        rest = rest - columns[-1] * direction
    return np.hstack(columns)


def _gradient(place: Matrix, affinities: Matrix) -> Matrix:
    squares = (place**2).sum(axis=1)
    squared_distances = np.maximum(squares[:, None] + squares - 2 * _times(place, place.T), 0)
    near = 1 / (1 + squared_distances)  # Student's t-distribution with one degree of freedom
    np.fill_diagonal(near, 0)
    pull = (affinities - near / near.sum()) * near
    gradient: Matrix = 4 * (pull.sum(axis=1)[:, None] * place - _times(pull, place))
    return gradient


def _times(a: Matrix, b: Matrix) -> Matrix:
    """Return a matmul without BLAS, whose last bits depend on its number of threads: t-SNE would enlarge them."""
    product: Matrix = np.einsum("ij,jk->ik", a, b)
    return product
