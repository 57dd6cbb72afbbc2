"""data/report.md: what was trained on what, how good it is, what it writes. Every number is in a metrics file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minimal_llm.gates import Gate
from minimal_llm.runtime import STREAMS
from minimal_llm.samples import Sample


@dataclass(frozen=True)
class Report:
    """The material of the page: training_metrics.json, the figures of validation, the gates and the samples."""

    training: Mapping[str, Any]
    quality: Mapping[str, Any]
    inference: Mapping[str, Any]
    gates: Mapping[str, Gate]
    samples: Sequence[Sample]


def render_report(report: Report) -> str:
    """Return the page as Markdown."""
    sections = (_heading, _quality, _inference, _safety, _gates, _samples, _history)
    parts = [section(report) for section in sections]
    return "\n".join(parts)


def _heading(report: Report) -> str:
    final, corpus = report.training["final_metrics"], report.training["corpus"]
    notice = ""
    if corpus["source"] == "primer":
        notice = "\nTrained on the embedded **primer**: its figures say nothing about books.\n"
    if corpus["fallback"]:
        notice += "\n**No mirror could be reached**, so the primer took the place of the books.\n"
    return f"""# Report card

Corpus: **{corpus["source"]}** · {final["parameters"]:,} parameters · {final["epochs"]} epochs, best after \
{final["best_epoch"]} · model {report.training["model_version"]} · run `{report.training["run_id"]}`
{notice}"""


def _quality(report: Report) -> str:
    quality = report.quality
    rows = [("all", quality["val_loss"], quality["val_perplexity"], quality["val_bits_per_byte"])]
    for language in ("en", "es"):
        part = quality[language]
        if "loss" in part:
            rows.append((language, part["loss"], part["perplexity"], part["bits_per_byte"]))
    body = [f"| {name} | {loss:.3f} | {perplexity:.1f} | {bits:.3f} |" for name, loss, perplexity, bits in rows]
    return f"""## Quality on text that it has not seen

| | validation loss | perplexity | bits a byte |
| --- | ---: | ---: | ---: |
{chr(10).join(body)}

Training loss of the best epoch: {quality["train_loss"]:.3f}, a gap of {quality["gap"]:.3f}. With the same weights and
no dropout on both sides, the gap is {quality["gap_without_dropout"]:.3f}.
{_agreement(report)}"""


def _agreement(report: Report) -> str:
    parts = [
        f"{report.quality[name]['agreement']:.1%} of {report.quality[name]['agreement_groups']:,} in {name}"
        for name in ("en", "es")
        if "agreement" in report.quality[name]
    ]
    return f"\nWord groups that agree in its own stories: {', '.join(parts)}.\n" if parts else ""


def _inference(report: Report) -> str:
    names = {"fp32": "PyTorch, fp32", "onnx": "ONNX Runtime, fp32", "onnx_int8": "ONNX Runtime, int8"}
    body = [_inference_row(label, report.inference[name]) for name, label in names.items()]
    return f"""## Cost of inference (one thread, each in a process of its own)

| | p50 a token | p95 a token | tokens/s | with {STREAMS} streams | ready in | resident | peak | file |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(body)}

int8 weights change the validation loss by {report.quality["int8"]["loss_increase"]:+.4f}.
"""


def _inference_row(label: str, figures: Mapping[str, Any]) -> str:
    return (
        f"| {label} | {figures['latency_p50_ms']:.2f} ms | {figures['latency_p95_ms']:.2f} ms "
        f"| {figures['tokens_per_s']:,.0f} | {figures[f'tokens_per_s_{STREAMS}_streams']:,.0f} "
        f"| {figures['ready_seconds']:.2f} s | {figures['rss_mb']:.0f} MB | {figures['peak_mb']:.0f} MB "
        f"| {figures['model_file_mb']:.1f} MB |"
    )


def _safety(report: Report) -> str:
    safety = report.quality["safety"]
    return f"""## Safety filter

It blocks {safety["false_positives"]} of {safety["sentences"]:,} sentences of the validation text,
{safety["recall"]:.1%} of {safety["prompts"]} unsafe prompts that its author knew, and {safety["recall_new"]:.1%} of
{safety["prompts_new"]} written afterwards: it is a blocklist, no guarantee.
"""


def _gates(report: Report) -> str:
    body = [
        f"| {name} | {_plain(gate.value)} | {_plain(gate.bound)} | {'passed' if gate.passed else '**missed**'} |"
        for name, gate in report.gates.items()
    ]
    return "## Gates\n\n| gate | value | bound | |\n| --- | ---: | ---: | --- |\n" + "\n".join(body) + "\n"


def _samples(report: Report) -> str:
    quotes = [f"**{sample.language}** {_escape(sample.text)}\n" for sample in report.samples]
    return "## What it writes\n\n" + "\n".join(quotes)


def _history(report: Report) -> str:
    body = [
        f"| {row['epoch']} | {row['train_loss']:.3f} | {row['val_loss']:.3f} | {row['learning_rate']:.2e} "
        f"| {row['gradient_norm']:.2f} |"
        for row in report.training["epoch_history"]
    ]
    head = (
        "| epoch | train loss | validation loss | learning rate | gradient norm |\n| ---: | ---: | ---: | ---: | ---: |"
    )
    return f"## Training\n\n{head}\n" + "\n".join(body) + "\n"


def _plain(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.4g}"


def _escape(text: str) -> str:
    """Return text whose characters Markdown takes literally."""
    return "".join("\\" + character if character in "\\`*_[]<>#|" else character for character in text)
