"""The disk space that runs need: their files, DVC's copies of them, and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from minimal_llm.common.config import Config
from minimal_llm.common.unfinished_runs import KEPT_FINISHED
from minimal_llm.pipeline.memory_estimate import corpus_mb, token_estimate, weights_mb

LAST_BOOKS_MB = 5  # of a download: of the last book in each language, only a part is used
RAW_BOOK = 1.3  # times the text that is used of a book: the licence, line ends, what else is cleaned away


def disk_needed_mb(config: Config) -> float:
    """Return the disk space in MB that one run needs at most: in its folder, in DVC's cache, for its checkpoints.

    DVC copies what the file system cannot share (its default, cache.type reflink,copy).
    """
    return sweep_disk_mb([config], [config])


def sweep_disk_mb(at_once: Sequence[Config], all_of_them: Sequence[Config]) -> float:
    """Return the disk space in MB that several runs need, so many of them at once, each in a folder of its own."""
    texts = {(each.download, each.split, each.tokenizer): text_mb(each) for each in all_of_them}
    cached = sum(texts.values()) + sum(2 * weights_mb(each) for each in all_of_them)
    folders = sum(text_mb(each) + 2 * weights_mb(each) for each in at_once)
    kept = KEPT_FINISHED * max(map(checkpoint_mb, all_of_them))
    return max(map(books_mb, all_of_them)) + cached + folders + kept + sum(map(checkpoints_mb, at_once))


def text_mb(config: Config) -> float:
    """Return the size of the corpus, its tokens, of two bytes each, and the tokenizer."""
    return corpus_mb(config) + 2 * token_estimate(config) / 1e6 + config.tokenizer.vocab_size * 100 / 1e6


def books_mb(config: Config) -> float:
    """Return the size of the books that are downloaded, as they are."""
    return RAW_BOOK * corpus_mb(config) + LAST_BOOKS_MB if config.download.source == "gutenberg" else 0.0


def checkpoints_mb(config: Config) -> float:
    """Return what the checkpoints of one run take; a new one is written before an old one is deleted."""
    train = config.train
    return (train.epochs // train.checkpoint_every_epochs + train.keep_checkpoints + 1) * checkpoint_mb(config)


def checkpoint_mb(config: Config) -> float:
    """Return the size of a checkpoint: weights, AdamW's two moments, best weights."""
    return 4 * weights_mb(config)
