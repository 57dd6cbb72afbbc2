"""The grammar score: how often a model finds the grammatical sentence of a minimal pair likelier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from minimal_llm.corpus.languages import Language
from minimal_llm.model.ngrams import NGrams
from minimal_llm.model.perplexity import excerpt
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import TokenFiles, decode_split
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.validation.grammar.pairs import Pair, words_of, write_pairs

BATCH = 64  # sentences

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
    counts = NGrams(tokens.train, tokens.meta.vocab_size)
    scores: dict[Language, GrammarScore] = {}
    for span in tokens.meta.train:
        text = decode_split(excerpt(span.of(tokens.train)), tokenizer)
        phenomena = write_pairs(span.language, words_of(text))
        if not phenomena:
            continue
        shares, unigram, trigram = (
            {name: _share(pairs, tokenizer, scorer) for name, pairs in phenomena.items()}
            for scorer in (partial(model_scores, model), *(partial(ngram_scores, counts, order) for order in (1, 3)))
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


def ngram_scores(counts: NGrams, order: int, sentences: Sentences) -> NDArray[np.float64]:
    """Return the log-likelihood of each sentence in nats."""
    return np.array([np.log(counts.probabilities(ids, order)).sum() for ids in sentences])
