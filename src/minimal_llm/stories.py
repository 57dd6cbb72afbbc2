"""How grammatical the stories are that a model writes which was trained on the primer."""

from __future__ import annotations

from itertools import islice, takewhile

import numpy as np

from minimal_llm.corpus.primer.agreement import Agreement, check_agreement
from minimal_llm.dataset import derive_seed
from minimal_llm.generation import Sampling, stream_tokens
from minimal_llm.language import Language
from minimal_llm.model import TinyTransformer
from minimal_llm.token_files import Ids, Span, TokenMeta
from minimal_llm.tokenizer import Tokenizer

STORIES = 200  # a language
STORY_TOKENS = 200
OPENING_TOKENS = 6  # of a validation story: enough to set the language and a subject, too few to copy from


def measure_agreement(
    model: TinyTransformer, tokenizer: Tokenizer, tokens: Ids, meta: TokenMeta, seed: int
) -> dict[Language, Agreement]:
    """Return how many word groups agree in STORIES stories of each language; `tokens` is the validation side."""
    return {
        span.language: sum(
            (check_agreement(story, span.language) for story in write_stories(model, tokenizer, tokens, span, seed)),
            Agreement(),
        )
        for span in meta.val
    }


def write_stories(model: TinyTransformer, tokenizer: Tokenizer, tokens: Ids, span: Span, seed: int) -> list[str]:
    """Return STORIES stories in the language of a span, begun as stories of its validation text begin."""
    own = tokens[span.first : span.first + span.tokens]
    starts = np.flatnonzero(own == tokenizer.bos_id)
    chosen = starts[np.arange(STORIES) * len(starts) // STORIES]
    return [
        _write_story(
            model, tokenizer, own[start : start + 1 + OPENING_TOKENS].tolist(), derive_seed(seed, span.language, n)
        )
        for n, start in enumerate(chosen)
    ]


def _write_story(model: TinyTransformer, tokenizer: Tokenizer, opening: list[int], seed: int) -> str:
    # Whole words only: what the last token leaves unfinished is no mistake of grammar.
    stream = islice(stream_tokens(model, opening, Sampling(seed=seed)), STORY_TOKENS)
    produced = list(takewhile(lambda token: token != tokenizer.eos_id, stream))
    text = tokenizer.decode([*opening[1:], *produced])
    return text if len(produced) < STORY_TOKENS else text.rpartition(" ")[0]
