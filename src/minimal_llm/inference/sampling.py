"""Sampling: how the next token is chosen from logits. Needs only numpy, so every runtime uses it.

The steps and their order are those of llama.cpp, so settings have the same meaning: repetition penalty, top-k, top-p,
min-p, temperature, random draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from minimal_llm.common.errors import ConfigurationError, ValidationError

Logits = npt.NDArray[np.float32]

GROUP = 32  # logits per group in top_k_ids

RANGES = {  # inclusive
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**31),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (0.01, 100.0),
    "repeat_last_n": (0, 2**31),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. Temperature 0 is greedy. By default only top_k and temperature have an effect.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    temperature: float = 0.8
    top_k: int = 40  # keep the k most likely tokens; 0: keep all
    top_p: float = 1.0  # keep the most likely tokens with this total probability (Holtzman et al. 2020)
    min_p: float = 0.0  # keep tokens at least this fraction as likely as the most likely one (Nguyen et al. 2024)
    repeat_penalty: float = 1.0  # makes recent tokens less likely (Keskar et al. 2019)
    repeat_last_n: int = 64  # how many tokens count as recent
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{field.name} = {value} is outside {low} to {high}", remedy="minimal-llm generate --help"
                )


class Sampler:
    """Chooses the tokens of one stream. Equal settings, stream number and logits give equal tokens."""

    def __init__(self, sampling: Sampling, stream: int = 0) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64([sampling.seed, stream]))

    def choose(self, logits: Logits, seen: Sequence[int]) -> int:
        """Return the id of the next token, given its (V,) logits and the tokens `seen` before it.

        Raises:
            ValidationError: the largest logit is not finite, which no intact model computes.
        """
        sampling = self._sampling
        if sampling.repeat_penalty != 1 and sampling.repeat_last_n:
            logits = apply_repetition_penalty(logits, seen[-sampling.repeat_last_n :], sampling.repeat_penalty)
        best = int(logits.argmax())  # that of a NaN, if there is one
        if not np.isfinite(logits[best]):
            told = f"the model scores token {best} with {logits[best]}: it did not learn, or it is damaged"
            raise ValidationError(told, remedy="dvc checkout, or train it again: make train")
        if sampling.temperature == 0:
            return best
        ids = top_k_ids(logits, sampling.top_k)
        kept = logits[ids].astype(np.float64)  # in descending order
        if sampling.top_p < 1:
            kept = kept[: nucleus_size(kept, sampling.top_p)]
        if sampling.min_p > 0:
            kept = kept[kept >= kept[0] + np.log(sampling.min_p)]
        cumulative = np.cumsum(np.exp((kept - kept[0]) / sampling.temperature))
        return int(ids[np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")])


def apply_repetition_penalty(logits: Logits, recent: Sequence[int], penalty: float) -> Logits:
    """Return a copy in which the logits of recent tokens are divided by the penalty, or multiplied if negative."""
    ids = np.unique(np.asarray(recent, dtype=np.int64))
    penalized = logits.copy()
    penalized[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return penalized


def top_k_ids(logits: Logits, k: int) -> npt.NDArray[np.int64]:
    """Return the ids of the `k` largest logits (0: of all), in descending order; ties are in order of id."""
    if 0 < k * GROUP < len(logits):
        # Sorting all logits is slow. The k-th largest of the group maxima is a threshold that at least k logits reach,
        # and few more do. A group is every n-th logit: numpy computes maxima faster across rows than along them.
        whole = len(logits) // GROUP * GROUP
        maxima = logits[:whole].reshape(GROUP, -1).max(axis=0)
        candidates = np.flatnonzero(logits >= np.partition(maxima, -k)[-k])
    else:
        candidates = np.arange(len(logits))
    order = np.argsort(-logits[candidates], kind="stable")
    return candidates[order[:k] if k else order]


def nucleus_size(logits: npt.NDArray[np.float64], top_p: float) -> int:
    """Return how many of the logits, in descending order, are needed for a total probability of `top_p`; at least 1."""
    cumulative = np.cumsum(np.exp(logits - logits[0]))
    return min(len(logits), int(np.searchsorted(cumulative, top_p * cumulative[-1], side="left")) + 1)
