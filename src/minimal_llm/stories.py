"""How grammatical the stories are that a model writes which was trained on the primer."""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import torch

from minimal_llm.corpus.primer.agreement import Agreement, check_agreement
from minimal_llm.dataset import derive_seed
from minimal_llm.language import Language
from minimal_llm.model import KVCache, TinyTransformer
from minimal_llm.token_files import Ids, Span, TokenMeta
from minimal_llm.tokenizer import Tokenizer

STORIES = 200  # a language
STORY_TOKENS = 120  # with its opening it fits into the default context
TEMPERATURE = 0.8
TOP_K = 40
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


@torch.inference_mode()
def write_stories(model: TinyTransformer, tokenizer: Tokenizer, tokens: Ids, span: Span, seed: int) -> list[str]:
    """Return STORIES stories in the language of a span, begun as stories of its validation text begin.

    All of them are written at once, as one batch.
    """
    own = tokens[span.first : span.first + span.tokens]
    starts = np.flatnonzero(own[: len(own) - OPENING_TOKENS] == tokenizer.bos_id)
    chosen = starts[np.arange(STORIES) * len(starts) // STORIES]
    openings = np.stack([own[start : start + 1 + OPENING_TOKENS] for start in chosen]).astype(np.int64)
    written = torch.from_numpy(openings)  # (B, T)
    generator = torch.Generator().manual_seed(derive_seed("stories", seed, span.language))
    cache = KVCache(model.architecture, batch_size=STORIES)
    logits = model(written, cache)  # (B, V)
    for _ in range(min(STORY_TOKENS, model.architecture.max_seq_length - written.shape[1])):
        likeliest, ids = torch.topk(logits / TEMPERATURE, min(TOP_K, logits.shape[1]))  # each (B, TOP_K)
        drawn = ids.gather(1, torch.multinomial(torch.softmax(likeliest, dim=-1), 1, generator=generator))  # (B, 1)
        written = torch.cat((written, drawn), dim=1)
        logits = model(drawn, cache)
    return [_text(tokenizer, ids) for ids in written[:, 1:].tolist()]


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    story = list(takewhile(lambda token: token != tokenizer.eos_id, ids))
    text = tokenizer.decode(story)
    # Whole words only: what the last token leaves unfinished is no mistake of grammar.
    return text if len(story) < len(ids) else text.rpartition(" ")[0]
