"""The corpus, recipe, machine and cost of a training run, as the report card shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minimal_llm.corpus.languages import LANGUAGE_NAMES
from minimal_llm.corpus.manifest import CorpusManifest
from minimal_llm.validation.report.markdown import escape, listed, table

MAX_TITLES = 30  # with more documents than this, the page gives only their number


def provenance_tables(
    manifest: CorpusManifest,
    training: Mapping[str, Any],
    speed: Mapping[str, Any],
    train_tokens: int,
    val_tokens: int,
    test_tokens: int,
) -> str:
    """Return two tables: the corpus; the recipe and machine. The mappings are training_metrics.json, train_speed.json.

    Raises:
        KeyError: one of the mappings lacks a key.
    """
    titled = manifest.source != "primer" and len(manifest.documents) <= MAX_TITLES
    head = ("language", "documents", "MB") + (("titles",) if titled else ())
    corpus = table(head, _corpus_rows(manifest, titled), "lrrl"[: len(head)])
    rows = _recipe_rows(training, train_tokens, val_tokens, test_tokens) + _machine_rows(speed)
    return f"{corpus}\n{table(('recipe', ''), rows, 'll')}"


def describe_corpus(manifest: CorpusManifest) -> str:
    """Return the number of documents and the size of each language."""
    sizes = [
        f"{size / 1e6:.2f} MB of {LANGUAGE_NAMES[name]}" for name, size in manifest.bytes_per_language.items() if size
    ]
    return f"{_counted(len(manifest.documents), 'document')}: {listed(sizes)}"


def duration(seconds: float) -> str:
    """Return a duration in minutes or, if it is short, in seconds."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("s" if count != 1 else "")


def _corpus_rows(manifest: CorpusManifest, titled: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for language, size in manifest.bytes_per_language.items():
        titles = [escape(entry.title) for entry in manifest.documents if entry.language == language]
        row = (LANGUAGE_NAMES[language], f"{len(titles):,}", f"{size / 1e6:.2f}")
        rows.append((*row, ", ".join(titles)) if titled else row)
    return rows


def _recipe_rows(
    training: Mapping[str, Any], train_tokens: int, val_tokens: int, test_tokens: int
) -> list[tuple[str, str]]:
    recipe, final = training["configuration"], training["final_metrics"]
    rows = [
        ("tokens", f"{train_tokens:,} for training, {val_tokens:,} for validation, {test_tokens:,} for the test"),
        ("tokenizer", f"{recipe['tokenizer.model_type']}, {recipe['tokenizer.vocab_size']:,}-token vocabulary"),
        (
            "model",
            f"{_counted(recipe['model.layers'], 'layer')}, d_model {recipe['model.d_model']}, "
            f"{_counted(recipe['model.heads'], 'attention head')}, feed-forward {recipe['model.feed_forward']}, "
            f"{recipe['train.max_seq_length']}-token context"
            + (", embedding and output head tied" if recipe["model.tie_embeddings"] else ""),
        ),
        ("batch", f"{recipe['train.batch_size']} sequences of {recipe['train.max_seq_length']} tokens"),
        (
            "optimizer",
            f"AdamW, learning rate {recipe['train.learning_rate']:g}, {recipe['train.warmup_steps']} warm-up steps, "
            f"weight decay {recipe['train.weight_decay']:g}, gradient clipping at {recipe['train.gradient_clip']:g}",
        ),
        ("dropout", _dropout(recipe["train.dropout"], recipe["train.dropout_rise_ratio"])),
        ("epochs", f"{final['epochs']}; the weights are from epoch {final['best_epoch']}"),
        ("seed", f"{recipe['seed']}"),
    ]
    if recipe["train.init_from"]:
        start = f"the weights in {escape(recipe['train.init_from'])}, sha256 `{final['init_from_sha256']}`"
        rows.insert(2, ("initialized from", start))
    return rows


def _machine_rows(speed: Mapping[str, Any]) -> list[tuple[str, str]]:
    compiled = ", torch.compile" if speed["compiled"] else ""
    return [
        (
            "machine",
            f"{escape(speed['cpu'])} ({escape('; then '.join(speed['kernels']))}), {speed['device']}, "
            f"{_counted(speed['threads'], 'thread')}, {speed['precision']} matmuls{compiled}",
        ),
        (
            "cost",
            f"{duration(speed['total_seconds'])}, {speed['tokens_per_s']:,.0f} tokens/s, "
            f"peak memory {speed['peak_memory_mb']:,.0f} MB",
        ),
    ]


def _dropout(rate: float, rise_ratio: float) -> str:
    if rate == 0:
        return "none"
    return f"{rate:g}" + (f", ramped up over the first {rise_ratio:.0%} of the run" if rise_ratio else "")
