"""Where a model comes from, as its report says it: corpus, recipe, machine, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minimal_llm.corpus.languages import LANGUAGE_NAMES
from minimal_llm.corpus.manifest import CorpusManifest
from minimal_llm.validation.report.markdown import escape, listed, table

TITLED_DOCUMENTS = 30  # the titles of so many are on the page, of more only their number


def provenance_tables(
    manifest: CorpusManifest,
    training: Mapping[str, Any],
    speed: Mapping[str, Any],
    train_tokens: int,
    val_tokens: int,
) -> str:
    """Return two tables: the corpus; recipe and machine. The mappings are training_metrics.json and train_speed.json.

    Raises:
        KeyError: one of them lacks a figure.
    """
    titled = manifest.source != "primer" and len(manifest.documents) <= TITLED_DOCUMENTS
    head = ("language", "documents", "MB") + (("titles",) if titled else ())
    corpus = table(head, _corpus_rows(manifest, titled), "lrrl"[: len(head)])
    rows = _recipe_rows(training, train_tokens, val_tokens) + _machine_rows(speed)
    return f"{corpus}\n{table(('recipe', ''), rows, 'll')}"


def describe_corpus(manifest: CorpusManifest) -> str:
    """Return the number of documents and the size of each language."""
    sizes = [
        f"{size / 1e6:.2f} MB of {LANGUAGE_NAMES[name]}" for name, size in manifest.bytes_per_language.items() if size
    ]
    return f"{_documents(len(manifest.documents))}: {listed(sizes)}"


def duration(seconds: float) -> str:
    """Return a time in minutes or, if it is short, in seconds."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _documents(count: int) -> str:
    return f"{count:,} document" + ("s" if count != 1 else "")


def _corpus_rows(manifest: CorpusManifest, titled: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for language, size in manifest.bytes_per_language.items():
        titles = [escape(entry.title) for entry in manifest.documents if entry.language == language]
        row = (LANGUAGE_NAMES[language], f"{len(titles):,}", f"{size / 1e6:.2f}")
        rows.append((*row, ", ".join(titles)) if titled else row)
    return rows


def _recipe_rows(training: Mapping[str, Any], train_tokens: int, val_tokens: int) -> list[tuple[str, str]]:
    recipe, final = training["configuration"], training["final_metrics"]
    rows = [
        ("tokens", f"{train_tokens:,} to train on, {val_tokens:,} to validate on"),
        ("tokenizer", f"{recipe['tokenizer.model_type']}, {recipe['tokenizer.vocab_size']:,} pieces"),
        (
            "model",
            f"{recipe['model.layers']} layers, width {recipe['model.d_model']}, {recipe['model.heads']} heads, "
            f"feed-forward {recipe['model.feed_forward']}, context of {recipe['train.max_seq_length']} tokens",
        ),
        ("batches", f"{recipe['train.batch_size']} windows of {recipe['train.max_seq_length']} tokens"),
        (
            "optimizer",
            f"AdamW, learning rate {recipe['train.learning_rate']:g}, {recipe['train.warmup_steps']} steps of warm-up, "
            f"weight decay {recipe['train.weight_decay']:g}, gradients clipped at {recipe['train.gradient_clip']:g}",
        ),
        ("dropout", _dropout(recipe["train.dropout"], recipe["train.dropout_rise_ratio"])),
        ("epochs", f"{final['epochs']}, the weights are those after epoch {final['best_epoch']}"),
        ("seed", f"{recipe['seed']}"),
    ]
    if recipe["train.init_from"]:
        start = f"the weights in {escape(recipe['train.init_from'])}, sha256 `{final['init_from_sha256']}`"
        rows.insert(2, ("started from", start))
    return rows


def _machine_rows(speed: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "machine",
            f"{escape(speed['cpu'])} ({speed['cpu_capability']}), {speed['device']}, threads: {speed['threads']}, "
            f"{speed['precision']} products{', compiled' if speed['compiled'] else ''}, PyTorch "
            f"{speed['torch_version']}",
        ),
        (
            "cost",
            f"{duration(speed['total_seconds'])}, {speed['tokens_per_s']:,.0f} tokens/s, "
            f"{speed['peak_memory_mb']:,.0f} MB at the peak",
        ),
    ]


def _dropout(share: float, rise: float) -> str:
    if share == 0:
        return "none"
    return f"{share:g}" + (f", reached after {rise:.0%} of the run" if rise else " from the start")
