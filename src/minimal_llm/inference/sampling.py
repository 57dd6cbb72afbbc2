"""How the next token is chosen from logits. Needs numpy alone: every runtime samples with this.

The steps and their order are those of llama.cpp, so that a setting means here what it means there: repetition penalty,
top-k, top-p, min-p, temperature, draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from minimal_llm.common.errors import ConfigurationError

Logits = npt.NDArray[np.float32]

GROUP = 32  # logits, of which the largest is looked at first

RANGES = {  # what a value may be, ends included
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
    """The settings. Temperature 0 always takes the likeliest; the other defaults but top_k switch their step off.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    temperature: float = 0.8
    top_k: int = 40  # so many candidates; 0: all
    top_p: float = 1.0  # the likeliest ones that hold this share of the probability (Holtzman et al. 2020)
    min_p: float = 0.0  # those at least this share as likely as the likeliest (Nguyen et al. 2024)
    repeat_penalty: float = 1.0  # on the logits of recent tokens (Keskar et al. 2019)
    repeat_last_n: int = 64  # how many tokens are recent
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{field.name} = {value} is outside {low} to {high}", remedy="minimal-llm generate --help"
                )


class Sampler:
    """One stream of choices: equal settings, stream number and logits give equal tokens."""

    def __init__(self, sampling: Sampling, stream: int = 0) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64([sampling.seed, stream]))

    def choose(self, logits: Logits, seen: Sequence[int]) -> int:
        """Return the id of the next token, drawn from (V,) logits after the tokens `seen`."""
        sampling = self._sampling
        if sampling.repeat_penalty != 1 and sampling.repeat_last_n:
            logits = penalise(logits, seen[-sampling.repeat_last_n :], sampling.repeat_penalty)
        if sampling.temperature == 0:
            return int(logits.argmax())
        ids = likeliest(logits, sampling.top_k)
        kept = logits[ids].astype(np.float64)
        if sampling.top_p < 1:
            kept = kept[: first_share(kept, sampling.top_p)]
        if sampling.min_p > 0:
            kept = kept[kept >= kept[0] + np.log(sampling.min_p)]
        cumulative = np.cumsum(np.exp((kept - kept[0]) / sampling.temperature))
        return int(ids[np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")])


def penalise(logits: Logits, recent: Sequence[int], penalty: float) -> Logits:
    """Return logits that make recent tokens less likely: positive ones divided by the penalty, others multiplied."""
    ids = np.unique(np.asarray(recent, dtype=np.int64))
    changed = logits.copy()
    changed[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return changed


def likeliest(logits: Logits, count: int) -> npt.NDArray[np.int64]:
    """Return the ids of the `count` largest logits (0: of all), the largest first, the smaller id first where equal."""
    if 0 < count * GROUP < len(logits):
        # The count-th largest of the maxima of groups is a bound that at least `count` logits reach: few are left to
        # sort. A group is every n-th logit, because numpy takes maxima across rows much faster than along them.
        whole = len(logits) // GROUP * GROUP
        maxima = logits[:whole].reshape(GROUP, -1).max(axis=0)
        candidates = np.flatnonzero(logits >= np.partition(maxima, -count)[-count])
    else:
        candidates = np.arange(len(logits))
    order = np.argsort(-logits[candidates], kind="stable")
    return candidates[order[:count] if count else order]


def first_share(logits: npt.NDArray[np.float64], share: float) -> int:
    """Return how many of the descending logits hold at least this share of the probability; at least one."""
    cumulative = np.cumsum(np.exp(logits - logits[0]))
    return min(len(logits), int(np.searchsorted(cumulative, share * cumulative[-1], side="left")) + 1)
