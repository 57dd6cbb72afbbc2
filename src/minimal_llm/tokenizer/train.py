"""Train a SentencePiece tokenizer (Kudo and Richardson 2018)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import sentencepiece

from minimal_llm.common.config import TokenizerConfig
from minimal_llm.common.errors import TokenizerError
from minimal_llm.tokenizer.tokenizer import Tokenizer


def train_tokenizer(texts: Sequence[str], config: TokenizerConfig) -> Tokenizer:
    """Return a tokenizer trained on paragraphs of text; equal input gives equal bytes on every machine.

    Raises:
        TokenizerError: there is no text, or the text does not allow a vocabulary of this size; the message says which
            size would work.
    """
    longest = max((len(text.encode()) for text in texts), default=0)
    if longest == 0:
        raise TokenizerError("the corpus has no text to train a tokenizer on", remedy="dvc repro download")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=config.vocab_size,
            model_type=config.model_type,
            num_threads=config.threads,
            character_coverage=1.0,
            byte_fallback=True,
            # The next three keep every character, so that decoding restores the exact text.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            max_sentence_length=longest + 1,  # the default, 4192 bytes, silently drops longer paragraphs
            # A small corpus may have fewer words or characters than vocab_size: then the vocabulary is smaller.
            hard_vocab_limit=config.model_type in ("unigram", "bpe"),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explain(str(error), config.vocab_size) from error
    return Tokenizer(model.getvalue())


def _explain(message: str, vocab_size: int) -> TokenizerError:
    """Translate an error of SentencePiece into one that says what to do."""
    if found := re.search(r"value <= (\d+)", message):
        largest = int(found[1])
        remedy = (
            f"make train VOCAB_SIZE={largest}" if largest >= 1000 else "use a larger corpus: at least 100 KB of text"
        )
        return TokenizerError(
            f"tokenizer.vocab_size = {vocab_size} is too large for this corpus, which allows at most {largest}",
            remedy=remedy,
        )
    if found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return TokenizerError(
            f"tokenizer.vocab_size = {vocab_size} is too small: the characters of this corpus alone need {found[1]}",
            remedy=f"make train VOCAB_SIZE={found[1]}",
        )
    return TokenizerError(
        f"SentencePiece failed to train: {message}", remedy="look at the corpus: head data/corpus_bilingual.txt"
    )
