"""data/report.md: what was trained on what, how good it is, what it writes. Every number is in a file of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minimal_llm.corpus.languages import LANGUAGE_NAMES, LANGUAGES
from minimal_llm.corpus.manifest import CorpusManifest
from minimal_llm.inference.benchmark import STREAMS
from minimal_llm.inference.latency import milliseconds
from minimal_llm.validation.gates import Gate, all_passed
from minimal_llm.validation.report.markdown import escape, folded, listed, picture, table
from minimal_llm.validation.report.provenance import describe_corpus, duration, provenance_tables
from minimal_llm.validation.samples import PROMPTS, Sample

RUNTIMES = {"fp32": "PyTorch", "onnx": "ONNX", "onnx_int8": "ONNX int8"}  # by their names in metrics/inference.json
ENDS = (".", "!", "?", ".”", "!”", "?”", ".’", "!’", "?’", ".»", "!»", "?»", '."', '!"', '?"')  # of a whole sentence
# What a gate asks, how its figures are written, and on which side of its bound they have to be.
GATES = {
    "validation_loss": ("validation loss", "{:.3f}", "at most"),
    "gap": ("gap between validation and training loss", "{:.3f}", "at most"),
    "train_loss_falls": ("training loss falls in every epoch", "", ""),
    "repetition": ("words that repeat themselves in the samples", "{:.2%}", "at most"),
    "language_en": ("English prompts continued in English", "{:.0%}", "at least"),
    "language_es": ("Spanish prompts continued in Spanish", "{:.0%}", "at least"),
    "agreement_en": ("word groups that agree, English", "{:.1%}", "at least"),
    "agreement_es": ("word groups that agree, Spanish", "{:.1%}", "at least"),
    "int8_loss_increase": ("loss added by int8 weights", "{:.4f}", "at most"),
    "safety_recall": ("unsafe prompts blocked", "{:.1%}", "at least"),
    "safety_false_positives": ("sentences of the validation text blocked", "{:.2%}", "at most"),
    "rss_mb": ("resident memory", "{:.0f} MB", "at most"),
    "peak_mb": ("peak memory", "{:.0f} MB", "at most"),
    "latency_p95_ms": ("next token, p95", "{:.2f} ms", "at most"),
}


@dataclass(frozen=True)
class Report:
    """The material of the page: files of the run by their content, figures of validation, gates and samples."""

    manifest: CorpusManifest
    training: Mapping[str, Any]  # training_metrics.json
    speed: Mapping[str, Any]  # metrics/train_speed.json
    train_tokens: int
    val_tokens: int
    quality: Mapping[str, Any]  # metrics/validation.json
    inference: Mapping[str, Any]  # metrics/inference.json
    quality_gates: Mapping[str, Gate]
    budget_gates: Mapping[str, Gate]
    samples: Sequence[Sample]

    @property
    def gates(self) -> Mapping[str, Gate]:
        """All gates by their names."""
        return {**self.quality_gates, **self.budget_gates}


def render_report(report: Report) -> str:
    """Return the page as Markdown. Its pictures are in the folder plots/ beside it."""
    sections = (_heading, _samples, _learning, _quality, _cost, _making, _gates, _safety, _again, _history)
    return "\n".join(section(report) for section in sections)


def _heading(report: Report) -> str:
    fp32, int8 = report.inference["fp32"], report.inference["onnx_int8"]
    passed = sum(gate.passed for gate in report.gates.values())
    missed = "" if all_passed(report.gates) else f"; missed: {', '.join(_missed(report))}"
    quality = report.quality
    rows = [
        (
            "quality",
            f"validation loss **{quality['val_loss']:.3f}** nats a token, perplexity {quality['val_perplexity']:.1f}, "
            f"{quality['val_bits_per_byte']:.3f} bits a byte",
        ),
        ("speed", f"**{fp32['tokens_per_s']:,.0f}** tokens/s on one thread, {int8['tokens_per_s']:,.0f} as int8"),
        ("memory", f"**{fp32['peak_mb']:.0f} MB** at the peak, {int8['peak_mb']:.0f} MB as int8"),
        ("file", f"{fp32['model_file_mb']:.1f} MB, {int8['model_file_mb']:.1f} MB as int8"),
        ("gates", f"**{passed} of {len(report.gates)}** passed{missed}"),
        ("model", f"version {report.training['model_version']}, run `{report.training['run_id']}`"),
    ]
    final = report.training["final_metrics"]
    return f"""# Report card

A language model of **{final["parameters"]:,} parameters** for English and Spanish, trained from scratch in \
**{duration(report.speed["total_seconds"])}**.
Corpus: **{report.manifest.source}**, {describe_corpus(report.manifest)}.
{_notices(report.manifest)}
{table(("", "at a glance"), rows, "ll")}"""


def _notices(manifest: CorpusManifest) -> str:
    notices = []
    if manifest.source == "primer":
        notices.append("> Trained on the embedded **primer**: its figures say nothing about books.\n")
    if manifest.fallback:
        notices.append("> **No mirror could be reached**, so the primer took the place of the books.\n")
    return "".join("\n" + notice for notice in notices)


def _samples(report: Report) -> str:
    parts = ["## What it writes\n\nThe prompt is bold; the rest is the model's.\n"]
    for language, name in LANGUAGE_NAMES.items():
        parts.append(f"**{name}**\n")
        parts += [f"> {_quote(sample)}\n" for sample in report.samples if sample.language == language]
    return "\n".join(parts)


def _quote(sample: Sample) -> str:
    prompt = next((prompt for prompt in PROMPTS[sample.language] if sample.text.startswith(prompt)), "")
    bold = f"**{escape(prompt)}**" if prompt else ""
    rest = sample.text.removeprefix(prompt)
    space = " " if rest.startswith(" ") else ""
    return bold + space + escape(rest) + ("" if rest.endswith(ENDS) else " …")


def _learning(report: Report) -> str:
    configuration, history = report.training["configuration"], report.training["epoch_history"]
    first, last = history[0], history[-1]
    clip = configuration["train.gradient_clip"]
    loss = picture(
        "plots/loss.png",
        f"Training and validation loss against epochs. Training goes from {first['train_loss']:.3f} to "
        f"{last['train_loss']:.3f}, validation from {first['val_loss']:.3f} to {last['val_loss']:.3f}",
        _read_loss(report),
    )
    rate = picture(
        "plots/learning_rate.png",
        f"Learning rate against epochs, {last['learning_rate']:.2g} at the end",
        f"The schedule: up to {configuration['train.learning_rate']:g} over the first "
        f"{configuration['train.warmup_steps']} steps (a tenth of the run, if that is less), then down along a cosine "
        f"to {configuration['train.min_learning_rate_ratio']:.0%} of it.",
    )
    norm = picture(
        "plots/gradient_norm.png",
        f"Mean gradient norm of each epoch, from {first['gradient_norm']:.2f} to {last['gradient_norm']:.2f}",
        f"The mean norm goes from {first['gradient_norm']:.2f} in the first epoch to {last['gradient_norm']:.2f} in "
        f"the last; a step with more than {clip:g} is scaled down to that.",
    )
    return f"## How it learned\n\n{loss}\n{rate}\n{norm}"


def _read_loss(report: Report) -> str:
    final, quality = report.training["final_metrics"], report.quality
    epochs, best = final["epochs"], final["best_epoch"]
    told = f"The validation loss is lowest after epoch {best} of {epochs}: {final['val_loss']:.3f}."
    if final["converged"]:
        told += f" From epoch {final['plateau_epoch']} on it hardly falls."
    elif best == epochs:
        told += " It was still falling: more epochs may help."
    return (
        f"{told} The training loss of that epoch is {quality['train_loss']:.3f}, a gap of {quality['gap']:.3f}; with "
        f"the same weights and no dropout on both sides the gap is {quality['gap_without_dropout']:.3f}."
    )


def _quality(report: Report) -> str:
    quality = report.quality
    there = {name: LANGUAGE_NAMES[name] for name in LANGUAGES if "loss" in quality[name]}
    rows = [
        (label, f"{part['loss']:.3f}", f"{part['perplexity']:.1f}", f"{part['bits_per_byte']:.3f}")
        for label, part in ((label, quality[name]) for name, label in there.items())
    ]
    bits = {label: f"{quality[name]['bits_per_byte']:.3f}" for name, label in there.items()}
    told = f"A byte of text costs the model {listed([f'{value} bits in {label}' for label, value in bits.items()])}"
    if len(there) == 1:
        told += f"; the validation text has no {next(LANGUAGE_NAMES[name] for name in LANGUAGES if name not in there)}"
    else:
        easier = min(there, key=lambda name: float(quality[name]["bits_per_byte"]))
        told += f": {there[easier]} is the easier one for it"
        whole = [quality[f"val_{name}"] for name in ("loss", "perplexity", "bits_per_byte")]
        rows.append(("both", f"{whole[0]:.3f}", f"{whole[1]:.1f}", f"{whole[2]:.3f}"))
    alt = f"Bars of the bits that a byte costs: {', '.join(f'{label} {value}' for label, value in bits.items())}"
    bars = picture("plots/bits_per_byte.png", alt, f"{told}.")
    figures = table(("on text that it has not seen", "loss, nats a token", "perplexity", "bits a byte"), rows, "lrrr")
    return f"## How good it is\n\n{figures}\n{bars}{_agreement(quality)}"


def _agreement(quality: Mapping[str, Any]) -> str:
    parts = [
        f"{quality[name]['agreement']:.1%} of {quality[name]['agreement_groups']:,} in {label}"
        for name, label in LANGUAGE_NAMES.items()
        if "agreement" in quality[name]
    ]
    return f"\nWord groups that agree in the stories that it writes: {listed(parts)}.\n" if parts else ""


def _cost(report: Report) -> str:
    figures = {label: report.inference[name] for name, label in RUNTIMES.items()}
    rows = [
        (
            label,
            milliseconds(part["latency_p50_ms"]),
            milliseconds(part["latency_p95_ms"]),
            f"{part['tokens_per_s']:,.0f}",
            f"{part[f'tokens_per_s_{STREAMS}_streams']:,.0f}",
            f"{part['ready_seconds']:.2f}",
            f"{part['rss_mb']:.0f}",
            f"{part['peak_mb']:.0f}",
            f"{part['model_file_mb']:.1f}",
        )
        for label, part in figures.items()
    ]
    streams = f"with {STREAMS} streams"
    head = ("", "p50, ms", "p95, ms", "tokens/s", streams, "ready, s", "resident, MB", "peak, MB", "file, MB")
    p50, p95 = (
        listed([f"{milliseconds(part[key])} ms with {label}" for label, part in figures.items()])
        for key in ("latency_p50_ms", "latency_p95_ms")
    )
    latency = picture(
        "plots/latency.png",
        "Histograms of the time for the next token, one a runtime, with the medians and the 95th percentiles marked",
        f"Half of the tokens come within {p50}; 95% within {p95}.",
    )
    memory = picture(
        "plots/memory.png", f"Bars of the memory that {listed(list(RUNTIMES.values()))} take", _read_memory(report)
    )
    return f"""## How fast and how large

One thread, each runtime in a process of its own. p50 and p95 are of the time for the next token.

{table(head, rows, "lrrrrrrrr")}
int8 weights change the validation loss by {report.quality["int8"]["loss_increase"]:+.4f}.

{latency}
{memory}"""


def _read_memory(report: Report) -> str:
    resident, peak = report.gates["rss_mb"].bound, report.gates["peak_mb"].bound
    over = [
        label
        for name, label in RUNTIMES.items()
        if report.inference[name]["rss_mb"] > resident or report.inference[name]["peak_mb"] > peak
    ]
    told = f"Over budget: {listed(over)}" if over else "All of them stay within the budgets"
    return f"{told}; these are {resident:g} MB resident and {peak:g} MB at the peak."


def _making(report: Report) -> str:
    tables = provenance_tables(report.manifest, report.training, report.speed, report.train_tokens, report.val_tokens)
    return f"## How it was made\n\n{tables}"


def _gates(report: Report) -> str:
    rows = []
    for name, gate in report.gates.items():
        label, form, side = GATES[name]
        if isinstance(gate.value, bool):
            value, bound = "yes" if gate.value else "no", "yes"
        else:
            value, bound = form.format(gate.value), f"{side} {_short(form, gate.bound)}"
        rows.append((label, value, bound, "passed" if gate.passed else "**missed**"))
    return f"## Gates\n\n{table(('', 'here', 'asked', ''), rows, 'lrrl')}"


def _safety(report: Report) -> str:
    safety = report.quality["safety"]
    return f"""## Safety filter

It blocks {safety["false_positives"]} of {safety["sentences"]:,} sentences of the validation text,
{safety["recall"]:.1%} of {safety["prompts"]} unsafe prompts that its author knew, and {safety["recall_new"]:.1%} of
{safety["prompts_new"]} written afterwards: it is a blocklist, no guarantee.
"""


def _again(report: Report) -> str:
    own = " The texts are yours: have them where `params.yaml` says.\n" if report.manifest.source == "files" else ""
    return f"""## Do it again

```sh
git clone <this repository> minimal-llm && cd minimal-llm
make train     # the whole pipeline, with the parameters in params.yaml
make verify    # trains once more and compares with what dvc.lock records
```

Equal inputs on an equal machine give equal bytes; elsewhere the losses agree closely.
{own}"""


def _history(report: Report) -> str:
    history = report.training["epoch_history"]
    rows = [
        (
            f"{row['epoch']}",
            f"{row['train_loss']:.3f}",
            f"{row['val_loss']:.3f}",
            f"{row['learning_rate']:.2e}",
            f"{row['gradient_norm']:.2f}",
        )
        for row in history
    ]
    head = ("epoch", "training loss", "validation loss", "learning rate", "gradient norm")
    written = [(f"{row['epoch']}", *(escape(row["samples"][name]) for name in LANGUAGES)) for row in history]
    figures = folded("The figures of every epoch", table(head, rows, "rrrrr"))
    texts = folded(
        "What it wrote after every epoch",
        table(("epoch", *(LANGUAGE_NAMES[name] for name in LANGUAGES)), written, "rll"),
    )
    return f"## Epoch by epoch\n\n{figures}\n{texts}"


def _missed(report: Report) -> list[str]:
    return [GATES[name][0] for name, gate in report.gates.items() if not gate.passed]


def _short(form: str, bound: float) -> str:
    """Return a bound in the unit of its gate, without decimals that say nothing."""
    number = 100 * bound if "%" in form else bound
    return f"{number:g}" + form.partition("}")[2] + ("%" if "%" in form else "")
