"""Generate stories with a model trained on the primer, and measure their grammatical agreement."""

from __future__ import annotations

from itertools import islice

import numpy as np

from minimal_llm.corpus.languages import Language
from minimal_llm.inference.generation import Decoder, decode_until_end, stream_tokens
from minimal_llm.inference.sampling import Sampling
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.token_files import Ids, Span, TokenMeta
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.validation.agreement.check import Agreement, check_agreement

STORIES = 200  # per language
STORY_TOKENS = 120  # fits into the default context together with the opening
OPENING_TOKENS = 6  # of a validation story: enough to set language and subject, too few to copy from


def measure_agreement(
    decoder: Decoder, tokenizer: Tokenizer, tokens: Ids, meta: TokenMeta, seed: int
) -> dict[Language, Agreement]:
    """Return the agreement of word groups in STORIES stories of each language; `tokens` is the validation split."""
    return {
        span.language: sum(
            (check_agreement(story, span.language) for story in write_stories(decoder, tokenizer, tokens, span, seed)),
            Agreement(),
        )
        for span in meta.val
    }


def write_stories(decoder: Decoder, tokenizer: Tokenizer, tokens: Ids, span: Span, seed: int) -> list[str]:
    """Return STORIES stories in the language of a span, generated as one batch.

    Each continues the opening of a story in the validation text of the span.
    """
    own = tokens[span.first : span.first + span.tokens]
    starts = np.flatnonzero(own[: len(own) - OPENING_TOKENS] == tokenizer.bos_id)
    chosen = starts[np.arange(STORIES) * len(starts) // STORIES]
    openings = [own[start : start + 1 + OPENING_TOKENS].tolist() for start in chosen]
    sampling = Sampling(seed=derive_seed("stories", seed, span.language))
    count = min(STORY_TOKENS, decoder.context - len(openings[0]))
    generated = zip(*islice(stream_tokens(decoder, openings, sampling), count), strict=True)
    return [_whole_words(tokenizer, [*opening[1:], *story]) for opening, story in zip(openings, generated, strict=True)]


def _whole_words(tokenizer: Tokenizer, story: list[int]) -> str:
    # A word that the token limit cut off is not a grammar error.
    text = decode_until_end(tokenizer, story)
    return text if tokenizer.eos_id in story else text.rpartition(" ")[0]
