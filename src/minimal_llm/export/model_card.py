"""The model card: README.md of an export. Every number is computed from the model or read from a file of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import read_json, read_sealed, sha256_of_file
from minimal_llm.corpus.manifest import CorpusManifest, read_manifest
from minimal_llm.export.source import Source

LICENSE = {
    "gutenberg": "According to Project Gutenberg, the books are in the public domain in the United States. "
    "Elsewhere, check the laws of your country.",
    "primer": "The primer is synthetic text that minimal-llm generates from its own grammar and stories.",
    "files": "The text was supplied by whoever trained the model. Ask them about its license before you redistribute "
    "this folder.",
}


@dataclass(frozen=True)
class Facts:
    """The contents of the files next to a model; None for a file that does not exist."""

    manifest: CorpusManifest | None
    training: Mapping[str, Any] | None  # metrics/train.json
    quality: Mapping[str, Any] | None  # metrics/validation.json
    run: Mapping[str, Any] | None  # training_metrics.json


@dataclass(frozen=True)
class Usage:
    """How to load an exported format: a note on its peculiarities, and a Python program."""

    name: str
    packages: str
    note: str
    program: str


def read_facts(data_folder: Path, model_path: Path) -> Facts:
    """Read the files of a run; metrics are left out unless the model is the best model of that run.

    Raises:
        CorpusError: the manifest is damaged.
        ValidationError: a metrics file is damaged.
    """
    data = Artifacts(data_folder)
    manifest = read_manifest(data.corpus_manifest) if data.corpus_manifest.exists() else None
    best = data.best_model
    if not best.exists() or sha256_of_file(best) != sha256_of_file(model_path):
        return Facts(manifest, None, None, None)
    run = _metrics(data.training_metrics, read_sealed)
    return Facts(manifest, _metrics(data.train_metrics), _metrics(data.validation_metrics), run)


def render_card(source: Source, facts: Facts, usage: Usage) -> str:
    """Return the card as Markdown; it starts with the metadata block that model hubs read.

    Raises:
        ValidationError: a metric is missing from a metrics file.
    """
    try:
        parts = [
            _heading(source),
            _corpus(facts),
            _quality(facts),
            _limitations(source),
            _license(facts),
            _usage(usage),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValidationError(
            f"a metrics file is damaged or from another version: {error}", remedy="dvc repro validate"
        ) from error
    return "\n".join(parts)


def _metrics(path: Path, read: Callable[[Path], Any] = read_json) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = read(path)
    except (OSError, ValueError) as error:
        raise ValidationError(f"cannot read {path}: {error}", remedy="dvc repro validate") from error
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
{shape.layers} layers in the Llama layout, d_model {shape.d_model}, {shape.heads} attention heads, feed-forward \
{shape.feed_forward}, {shape.vocab_size:,}-token vocabulary, {shape.max_seq_length}-token context. \
It was trained with 32-bit weights.
"""


def _corpus(facts: Facts) -> str:
    manifest = facts.manifest
    if manifest is None:
        return "## Corpus\n\nThe corpus is unknown: there was no `corpus_manifest.json` next to the model.\n"
    sizes = ", ".join(f"{size / 1e6:.2f} MB {name}" for name, size in sorted(manifest.bytes_per_language.items()))
    fallback = " No mirror could be reached, so the primer was used instead of the books." if manifest.fallback else ""
    count = len(manifest.documents)
    documents = f"{count:,} document{'s' if count > 1 else ''}"
    lines = [f"## Corpus\n\n**{manifest.source}**: {sizes}, {documents}.{fallback}"]
    if manifest.source != "primer":
        lines.append("\n| title | author | language | bytes |\n| --- | --- | --- | ---: |")
        for entry in manifest.documents:
            title, author = _cell(entry.title), _cell(entry.author)
            lines.append(f"| {title} | {author} | {entry.language} | {entry.bytes:,} |")
    return "\n".join(lines) + "\n"


def _quality(facts: Facts) -> str:
    quality, training = facts.quality, facts.training
    if quality is None:
        return "## Quality\n\nThere are no metrics for this model: it was not validated.\n"
    rows = [_row("all", quality, "val_")]
    rows += [_row(name, quality[name], "") for name in ("en", "es") if "loss" in quality[name]]
    epochs = (
        "" if training is None else f"\nThe weights are from epoch {training['best_epoch']} of {training['epochs']}.\n"
    )
    failed = [name for name, gate in quality["gates"].items() if not gate["passed"]]
    checks = f"Failed quality checks: {', '.join(failed)}." if failed else "It passed all quality checks."
    return f"""## Quality on held-out text

| | loss (nats per token) | perplexity | bits per byte |
| --- | ---: | ---: | ---: |
{chr(10).join(rows)}
{epochs}
{checks}
"""


def _row(label: str, metrics: Mapping[str, Any], prefix: str) -> str:
    loss, perplexity = metrics[f"{prefix}loss"], metrics[f"{prefix}perplexity"]
    return f"| {label} | {loss:.3f} | {perplexity:.1f} | {metrics[f'{prefix}bits_per_byte']:.3f} |"


def _limitations(source: Source) -> str:
    return f"""## Limitations

- It continues text in the style of its corpus. It knows no facts, follows no instructions and has no safety filter: its
  output can be wrong, offensive or, in places, memorized from the corpus.
- It supports only English and Spanish.
- Its context is {source.architecture.max_seq_length} tokens. To generate more, a program has to drop the oldest ones.
- A text starts with `<s>`; the model ends it with `</s>`.
"""


def _license(facts: Facts) -> str:
    note = LICENSE[facts.manifest.source] if facts.manifest else "Unknown, because the corpus is unknown."
    return f"## License of the corpus\n\n{note}\n"


def _usage(usage: Usage) -> str:
    packages = " and ".join(f"`{package}`" for package in usage.packages.split())
    needed = f", with {packages} installed" if packages else ""
    return f"""## Usage ({usage.name})

{usage.note}

Run in this folder{needed}:

```python
{usage.program}```
"""


def _cell(text: str) -> str:
    """Return text escaped for a Markdown table."""
    return "".join("\\" + character if character in "\\`*_[]<>#|" else character for character in text)
