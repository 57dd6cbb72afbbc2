"""README.md of an export, the model card. Every figure is computed from the model or read from a file of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import read_json, sha256_of_file
from minimal_llm.corpus.manifest import CorpusManifest, read_manifest
from minimal_llm.export.source import Source

LICENCE = {
    "gutenberg": "The books are in the public domain in the United States, as Project Gutenberg lists them. "
    "Elsewhere, check the law where you live.",
    "primer": "The primer is text that minimal-llm writes itself, from its own grammar and stories.",
    "files": "The text was given by whoever trained the model, and so is its licence: ask them before you pass "
    "this folder on.",
}


@dataclass(frozen=True)
class Facts:
    """What the files beside a model say of it; None where there is no such file."""

    manifest: CorpusManifest | None
    training: Mapping[str, Any] | None  # metrics/train.json
    quality: Mapping[str, Any] | None  # metrics/validation.json


@dataclass(frozen=True)
class Usage:
    """How to load a format: its note on what differs from this project's own program, and a program in Python."""

    name: str
    packages: str
    note: str
    program: str


def read_facts(data_folder: Path, model_path: Path) -> Facts:
    """Return what the files of a run say of a model; nothing on quality unless it is the best model of that run.

    Raises:
        CorpusError: the manifest is not one.
        ValidationError: a metrics file is damaged.
    """
    data = Artifacts(data_folder)
    manifest = read_manifest(data.corpus_manifest) if data.corpus_manifest.exists() else None
    best = data.best_model
    if not best.exists() or sha256_of_file(best) != sha256_of_file(model_path):
        return Facts(manifest, None, None)
    return Facts(manifest, _metrics(data.train_metrics), _metrics(data.validation_metrics))


def render_card(source: Source, facts: Facts, usage: Usage) -> str:
    """Return the card as Markdown; its first lines are the metadata that model hubs read.

    Raises:
        ValidationError: a metrics file lacks a figure.
    """
    try:
        parts = [_heading(source), _corpus(facts), _quality(facts), _limits(source), _licence(facts), _usage(usage)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValidationError(f"a metrics file lacks a figure: {error}", remedy="dvc repro validate") from error
    return "\n".join(parts)


def _metrics(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ValidationError(f"{path} cannot be read: {error}", remedy="dvc repro validate") from error
    return content if isinstance(content, dict) else {}


def _heading(source: Source) -> str:
    shape = source.architecture
    return f"""---
language: [en, es]
pipeline_tag: text-generation
tags: [minimal-llm, llama]
---
# A tiny English and Spanish language model

Trained from scratch with minimal-llm. Model version {source.version}: {source.parameters:,} parameters, \
{shape.layers} layers of the Llama layout, width {shape.d_model}, {shape.heads} heads, feed-forward \
{shape.feed_forward}, {shape.vocab_size:,} pieces, context of {shape.max_seq_length} tokens. \
It was trained with 32-bit weights.
"""


def _corpus(facts: Facts) -> str:
    manifest = facts.manifest
    if manifest is None:
        return "## Corpus\n\nThere was no `corpus_manifest.json` beside the model: its corpus is not recorded here.\n"
    sizes = ", ".join(f"{size / 1e6:.2f} MB {name}" for name, size in sorted(manifest.bytes_per_language.items()))
    fallback = " No mirror could be reached, so the primer took the place of the books." if manifest.fallback else ""
    lines = [f"## Corpus\n\n**{manifest.source}**: {sizes}, {len(manifest.documents):,} documents.{fallback}"]
    if manifest.source != "primer":
        lines.append("\n| title | author | language | bytes |\n| --- | --- | --- | ---: |")
        for entry in manifest.documents:
            title, author = _cell(entry.title), _cell(entry.author)
            lines.append(f"| {title} | {author} | {entry.language} | {entry.bytes:,} |")
    return "\n".join(lines) + "\n"


def _quality(facts: Facts) -> str:
    quality, training = facts.quality, facts.training
    if quality is None:
        return "## Quality\n\nThis model was not validated: there are no figures of it.\n"
    rows = [_row("all", quality, "val_")]
    rows += [_row(name, quality[name], "") for name in ("en", "es") if "loss" in quality[name]]
    epochs = "" if training is None else f"\nBest of {training['epochs']} epochs: {training['best_epoch']}.\n"
    missed = [name for name, gate in quality["gates"].items() if not gate["passed"]]
    gates = f"Gates missed: {', '.join(missed)}." if missed else "It passed all quality gates of the run."
    return f"""## Quality on text that it has not seen

| | loss, nats a token | perplexity | bits a byte |
| --- | ---: | ---: | ---: |
{chr(10).join(rows)}
{epochs}
{gates}
"""


def _row(label: str, figures: Mapping[str, Any], prefix: str) -> str:
    loss, perplexity = figures[f"{prefix}loss"], figures[f"{prefix}perplexity"]
    return f"| {label} | {loss:.3f} | {perplexity:.1f} | {figures[f'{prefix}bits_per_byte']:.3f} |"


def _limits(source: Source) -> str:
    return f"""## Limits

- It continues text in the manner of its corpus. It knows no facts, follows no instructions and has no filter: what it
  writes can be wrong, offensive or, in places, the corpus word for word.
- English and Spanish only.
- It sees {source.architecture.max_seq_length} tokens. A program that generates more has to drop the oldest.
- A text starts with `<s>`; `</s>` ends what it writes.
"""


def _licence(facts: Facts) -> str:
    if facts.manifest is None:
        note = "The corpus is not recorded here, so nothing can be said of its licence."
    else:
        note = LICENCE[facts.manifest.source]
    return f"## Licence of the corpus\n\n{note}\n"


def _usage(usage: Usage) -> str:
    packages = " and ".join(f"`{package}`" for package in usage.packages.split())
    return f"""## Use ({usage.name})

{usage.note}

In this folder, with {packages} installed:

```python
{usage.program}```
"""


def _cell(text: str) -> str:
    """Return text that is plain in a Markdown table."""
    return "".join("\\" + character if character in "\\`*_[]<>#|" else character for character in text)
