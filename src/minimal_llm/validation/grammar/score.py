"""The grammar score: how often a model finds the grammatical sentence of a minimal pair likelier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from minimal_llm.corpus.languages import Language
from minimal_llm.model.perplexity import excerpt
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import Ids, TokenFiles, decode_split
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.validation.grammar.pairs import Pair, words_of, write_pairs

BATCH = 64  # sentences
# Interpolation of trigrams, bigrams and unigrams (Jelinek and Mercer 1980), with fixed weights.
TRIGRAM_WEIGHTS = (0.6, 0.3, 0.1)

Sentences = Sequence[Sequence[int]]  # token ids, each with <s> before it
LogLikelihood = Callable[[Sentences], NDArray[np.float64]]


@dataclass(frozen=True)
class GrammarScore:
    """The share of pairs that are right, by phenomenon, and their means with which to compare it; chance is 0.5."""

    pairs: int
    phenomena: Mapping[str, float]
    unigram: float
    trigram: float

    @property
    def share(self) -> float:
        """The mean over the phenomena."""
        return mean(self.phenomena.values())


def measure_grammar(model: TinyTransformer, tokenizer: Tokenizer, tokens: TokenFiles) -> dict[Language, GrammarScore]:
    """Return the score of each language whose words the training text has."""
    counts = _Counts(tokens.train, tokens.meta.vocab_size)
    scores: dict[Language, GrammarScore] = {}
    for span in tokens.meta.train:
        text = decode_split(excerpt(tokens.train[span.first : span.first + span.tokens]), tokenizer)
        phenomena = write_pairs(span.language, words_of(text))
        if not phenomena:
            continue
        shares, unigram, trigram = (
            {name: _share(pairs, tokenizer, scorer) for name, pairs in phenomena.items()}
            for scorer in (lambda sentences: model_scores(model, sentences), counts.unigram, counts.trigram)
        )
        number = sum(map(len, phenomena.values()))
        scores[span.language] = GrammarScore(number, shares, mean(unigram.values()), mean(trigram.values()))
    return scores


def _share(pairs: Sequence[Pair], tokenizer: Tokenizer, scorer: LogLikelihood) -> float:
    """Return the share of pairs whose right sentence is likelier. A tie is half right, as a guess would be."""
    encoded = tokenizer.encode_all([sentence for pair in pairs for sentence in (pair.right, pair.wrong)])
    scores = scorer([[tokenizer.bos_id, *ids] for ids in encoded]).reshape(-1, 2)
    right, wrong = scores[:, 0], scores[:, 1]
    return float(((right > wrong) + 0.5 * (right == wrong)).mean())


@torch.inference_mode()
def model_scores(model: TinyTransformer, sentences: Sentences) -> NDArray[np.float64]:
    """Return the log-likelihood of each sentence in nats; only as many tokens as the context holds count."""
    scores = []
    for first in range(0, len(sentences), BATCH):
        batch = [torch.tensor(ids[: model.architecture.max_seq_length + 1]) for ids in sentences[first : first + BATCH]]
        padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)  # causal: what follows has no influence
        logits = model.hidden(padded[:, :-1]) @ model.output_weight.t()  # (B, T, V)
        losses = F.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")  # (B, T)
        present = torch.arange(losses.shape[1]) < torch.tensor([len(ids) - 1 for ids in batch]).unsqueeze(1)
        scores.append(-(losses.double() * present).sum(1).numpy())
    return np.concatenate(scores)


class _Counts:
    """Unigram and trigram models, counted on the training text, of which an excerpt has to do if it is large."""

    def __init__(self, tokens: Ids, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        ids = excerpt(tokens).astype(np.int64)
        self._single = np.bincount(ids, minlength=vocab_size).astype(np.float64)
        self._pairs = _count(ids[:-1] * vocab_size + ids[1:])
        self._triples = _count((ids[:-2] * vocab_size + ids[1:-1]) * vocab_size + ids[2:])

    def unigram(self, sentences: Sentences) -> NDArray[np.float64]:
        return np.array([np.log(self._frequency(np.asarray(ids[1:]))).sum() for ids in sentences])

    def trigram(self, sentences: Sentences) -> NDArray[np.float64]:
        return np.array([np.log(self._probabilities(np.asarray(ids, np.int64))).sum() for ids in sentences])

    def _frequency(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        # One more than counted, for tokens that the text lacks (Laplace).
        frequency: NDArray[np.float64] = (self._single[ids] + 1) / (self._single + 1).sum()
        return frequency

    def _probabilities(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of every token but the first. Its trigram begins with two `<s>` at the start."""
        size = self._vocab_size
        second, third = ids[:-1], ids[1:]
        first = np.concatenate([ids[:1], ids[:-2]])
        trigram = _ratio(
            _look_up(self._triples, (first * size + second) * size + third),
            _look_up(self._pairs, first * size + second),
        )
        bigram = _ratio(_look_up(self._pairs, second * size + third), self._single[second])
        weights = TRIGRAM_WEIGHTS
        return weights[0] * trigram + weights[1] * bigram + weights[2] * self._frequency(third)


def _count(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different keys, sorted, and how often each occurs."""
    unique, counts = np.unique(keys, return_counts=True)
    return unique, counts


def _look_up(counted: tuple[NDArray[np.int64], NDArray[np.int64]], keys: NDArray[np.int64]) -> NDArray[np.float64]:
    unique, counts = counted
    places = np.minimum(np.searchsorted(unique, keys), len(unique) - 1)
    found: NDArray[np.float64] = np.where(unique[places] == keys, counts[places], 0).astype(np.float64)
    return found


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
