"""n-gram models: what followed the last few tokens in a text predicts the next one. Baselines for the transformer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minimal_llm.model.perplexity import excerpt
from minimal_llm.tokenizer.token_files import TokenFiles

ORDERS = ("uniform", "unigram", "bigram", "trigram")  # by their number
USUAL_DISCOUNT = 0.5  # where nothing occurs once, from which it would be estimated

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class NGrams:
    """Predicts each token of a text from those before it, by the counts of a training text.

    Order 0 knows only the vocabulary (uniform), order 1 the frequency of each token (unigram), order 2 the token before
    (bigram), order 3 the two before (trigram). Most n-grams of a text are not in any other, so an order is mixed with
    the one below: interpolated Kneser-Ney smoothing (Chen and Goodman 1999). For a token w after a context h,

        p(w | h) = max(count(h w) - D, 0) / count(h) + D * followers(h) / count(h) * p(w | h without its first token)

    A discount D is taken from every count. What it frees, more after a context with many different followers, is shared
    out as the shorter context predicts. There, an n-gram counts once for each different token before it, however often
    it occurs: "Francisco" may be frequent, but after anything other than "San" it is unlikely.
    """

    def __init__(self, ids: npt.ArrayLike, vocab_size: int) -> None:
        """Take a training text of at least as many tokens as the highest order; of a large one, an excerpt counts."""
        self._ids = excerpt(np.asarray(ids, np.uint16)).astype(np.int64)
        self._vocab_size = vocab_size
        self._levels: dict[tuple[int, bool], _Level] = {}

    def loss(self, ids: npt.ArrayLike, order: int) -> float:
        """Return the mean loss in nats per token over all tokens of a text, or of an excerpt, but the first."""
        return float(-np.log(self.probabilities(excerpt(np.asarray(ids, np.uint16)), order)).mean())

    def probabilities(self, ids: npt.ArrayLike, order: int) -> Floats:
        """Return the probability of every token of a text but the first.

        Raises:
            ValueError: the order is so high that n-grams cannot be numbered.
        """
        if self._vocab_size**order >= 2**63:
            raise ValueError(f"order {order} is too high for a vocabulary of {self._vocab_size:,} entries")
        ids = np.asarray(ids, np.int64)
        probabilities = np.full(len(ids) - 1, 1 / self._vocab_size)
        for length in range(1, order + 1):
            keys = self._keys(ids, length)[length == 1 :]
            first = max(0, length - 2)  # the tokens before it have a shorter context
            level = self._level(length, is_highest=length == order)
            probabilities[first:] = level.mixed_with(probabilities[first:], keys)
        return probabilities

    def _level(self, length: int, is_highest: bool) -> _Level:
        if (length, is_highest) not in self._levels:
            keys = self._keys(self._ids, length)
            if not is_highest:  # one for each different token before it
                keys = np.unique(self._keys(self._ids, length + 1)) % self._vocab_size**length
            self._levels[length, is_highest] = _Level(keys, self._vocab_size)
        return self._levels[length, is_highest]

    def _keys(self, ids: Integers, length: int) -> Integers:
        """Return a number for every n-gram of a length: its tokens are the digits."""
        keys = np.zeros(len(ids) - length + 1, np.int64)
        for place in range(length):
            keys = keys * self._vocab_size + ids[place : place + len(keys)]
        return keys


def unigram_loss(tokens: TokenFiles) -> float:
    """Return the validation loss in nats per token of a guess by the tokens' frequencies in the training split.

    It knows no context: a model that is no better has learned nothing but the frequencies.
    """
    return NGrams(tokens.train, tokens.meta.vocab_size).loss(tokens.val, order=1)


class _Level:
    """The n-grams of one length, given with repetitions: how often each occurs, and what follows its context."""

    def __init__(self, keys: Integers, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._keys, self._counts = np.unique(keys, return_counts=True)
        self._contexts, places = np.unique(self._keys // vocab_size, return_inverse=True)
        self._followers, self._totals = np.bincount(places), np.bincount(places, self._counts)
        once, twice = (int((self._counts == count).sum()) for count in (1, 2))
        self._discount = once / (once + 2 * twice) if once else USUAL_DISCOUNT  # Ney, Essen and Kneser 1994

    def mixed_with(self, lower: Floats, keys: Integers) -> Floats:
        """Return the probability of the last token of each n-gram, given its probability after a shorter context."""
        counts = _look_up(self._keys, self._counts, keys)
        totals, followers = (
            _look_up(self._contexts, values, keys // self._vocab_size) for values in (self._totals, self._followers)
        )
        mixed = np.maximum(counts - self._discount, 0) + self._discount * followers * lower
        return np.divide(mixed, totals, out=lower.copy(), where=totals > 0)


def _look_up(keys: Integers, values: npt.NDArray[np.generic], wanted: Integers) -> Floats:
    """Return the values of some keys, 0 for those that are missing; the keys are sorted."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0).astype(np.float64)
