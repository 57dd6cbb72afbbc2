"""data/report.md: how the model was trained and how good it is. Every number comes from a file of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minimal_llm.corpus.languages import LANGUAGE_NAMES, LANGUAGES
from minimal_llm.corpus.manifest import CorpusManifest
from minimal_llm.inference.benchmark import STREAMS
from minimal_llm.inference.latency import milliseconds
from minimal_llm.validation.gates import Gate
from minimal_llm.validation.report.markdown import escape, folded, listed, picture, table
from minimal_llm.validation.report.provenance import describe_corpus, duration, provenance_tables
from minimal_llm.validation.samples import PROMPTS, Sample

RUNTIMES = {"fp32": "PyTorch", "onnx": "ONNX", "onnx_int8": "ONNX int8"}  # by their names in metrics/inference.json
SENTENCE_ENDS = (".", "!", "?", ".”", "!”", "?”", ".’", "!’", "?’", ".»", "!»", "?»", '."', '!"', '?"')
BASELINES = {
    "uniform": "every token equally likely",
    "unigram": "token frequencies",
    "bigram": "given the previous token",
    "trigram": "given the previous two tokens",
}
# For each gate: its label, the format of its value, and how the value is compared with its bound.
GATES = {
    "validation_loss": ("validation loss", "{:.3f}", "at most"),
    "unigram_loss": ("validation loss, compared with a guess by token frequencies", "{:.3f}", "at most"),
    "gap": ("generalization gap (validation - training loss)", "{:.3f}", "at most"),
    "train_loss_rise": ("rise of the training loss above an earlier epoch", "{:.3f}", "at most"),
    "repetition": ("repeated word sequences in samples", "{:.2%}", "at most"),
    "language_en": ("English prompts continued in English", "{:.0%}", "at least"),
    "language_es": ("Spanish prompts continued in Spanish", "{:.0%}", "at least"),
    "int8_loss_increase": ("loss increase from int8 quantization", "{:.4f}", "at most"),
    "safety_recall": ("unsafe prompts blocked", "{:.1%}", "at least"),
    "safety_false_positives": ("validation sentences blocked (false positives)", "{:.2%}", "at most"),
    "rss_mb": ("resident memory (RSS)", "{:.0f} MB", "at most"),
    "peak_mb": ("peak memory", "{:.0f} MB", "at most"),
    "latency_p95_ms": ("next-token latency, p95", "{:.2f} ms", "at most"),
}


@dataclass(frozen=True)
class Report:
    """Everything the page shows: the contents of the run's files, and the validation results, gates and samples."""

    manifest: CorpusManifest
    training: Mapping[str, Any]  # training_metrics.json
    speed: Mapping[str, Any]  # metrics/train_speed.json
    train_tokens: int
    val_tokens: int
    test_tokens: int
    quality: Mapping[str, Any]  # metrics/validation.json
    inference: Mapping[str, Any]  # metrics/inference.json
    quality_gates: Mapping[str, Gate]
    budget_gates: Mapping[str, Gate]
    samples: Sequence[Sample]

    @property
    def gates(self) -> Mapping[str, Gate]:
        """All gates by name."""
        return {**self.quality_gates, **self.budget_gates}


def render_report(report: Report) -> str:
    """Return the page as Markdown. Its pictures are in the folder plots/ next to it."""
    sections = (_summary, _samples, _training, _quality, _cost, _recipe, _checks, _safety, _reproduce, _history)
    return "\n".join(section(report) for section in sections)


def _summary(report: Report) -> str:
    fp32, int8 = report.inference["fp32"], report.inference["onnx_int8"]
    failed = [GATES[name][0] for name, gate in report.gates.items() if not gate.passed]
    passed = f"**{len(report.gates) - len(failed)} of {len(report.gates)}** passed"
    quality = report.quality
    rows = [
        (
            "quality",
            f"validation loss **{quality['val_loss']:.3f}** nats per token, perplexity "
            f"{quality['val_perplexity']:.1f}, {quality['val_bits_per_byte']:.3f} bits per byte "
            f"({quality['test_bits_per_byte']:.3f} on the test text)",
        ),
        ("speed", f"**{fp32['tokens_per_s']:,.0f}** tokens/s on one thread; int8: {int8['tokens_per_s']:,.0f}"),
        ("peak memory", f"**{fp32['peak_mb']:.0f} MB**; int8: {int8['peak_mb']:.0f} MB"),
        ("file size", f"{fp32['model_file_mb']:.1f} MB; int8: {int8['model_file_mb']:.1f} MB"),
        ("checks", passed + (f"; failed: {', '.join(failed)}" if failed else "")),
        ("model", f"version {report.training['model_version']}, run `{report.training['run_id']}`"),
        ("see inside", "`make page` puts it into one HTML page: its choices, attention, embeddings, how it learned"),
    ]
    final = report.training["final_metrics"]
    return f"""# Report card

An English and Spanish language model with **{final["parameters"]:,} parameters**, trained from scratch in \
**{duration(report.speed["total_seconds"])}**.
Corpus: **{report.manifest.source}**, {describe_corpus(report.manifest)}.
{_notices(report.manifest)}
{table(("", "at a glance"), rows, "ll")}"""


def _notices(manifest: CorpusManifest) -> str:
    notices = []
    if manifest.source == "primer":
        notices.append("> Trained on the embedded **primer**: these results do not carry over to real books.\n")
    if manifest.fallback:
        notices.append("> **No mirror could be reached**, so the primer was used instead of the books.\n")
    return "".join("\n" + notice for notice in notices)


def _samples(report: Report) -> str:
    parts = ["## Samples\n\nPrompts are in bold; the model wrote the rest.\n"]
    for language, name in LANGUAGE_NAMES.items():
        parts.append(f"**{name}**\n")
        parts += [f"> {_quote(sample)}\n" for sample in report.samples if sample.language == language]
    return "\n".join(parts)


def _quote(sample: Sample) -> str:
    prompt = next((prompt for prompt in PROMPTS[sample.language] if sample.text.startswith(prompt)), "")
    bold = f"**{escape(prompt)}**" if prompt else ""
    rest = sample.text.removeprefix(prompt)
    space = " " if rest.startswith(" ") else ""
    return bold + space + escape(rest) + ("" if rest.endswith(SENTENCE_ENDS) else " …")


def _training(report: Report) -> str:
    configuration, history = report.training["configuration"], report.training["epoch_history"]
    first, last = history[0], history[-1]
    loss = picture(
        "loss",
        f"Loss of every step, and training and validation loss by epoch. Training goes from {first['train_loss']:.3f} "
        f"to {last['train_loss']:.3f}, validation from {first['val_loss']:.3f} to {last['val_loss']:.3f}",
        _read_loss(report),
    )
    rate = picture(
        "learning_rate",
        f"Learning rate per step, {last['learning_rate']:.2g} at the end",
        f"Linear warm-up to {configuration['train.learning_rate']:g} over the first "
        f"{configuration['train.warmup_steps']} steps (or a tenth of the run, if that is less), then cosine decay to "
        f"{configuration['train.min_learning_rate_ratio']:.0%} of the peak.",
    )
    norms = f"from {first['gradient_norm']:.2f} in the first epoch to {last['gradient_norm']:.2f} in the last"
    clipped, clip = report.training["final_metrics"]["clipped_share"], configuration["train.gradient_clip"]
    norm = picture(
        "gradient_norm",
        f"Gradient norm per step, on average {norms}",
        f"The mean gradient norm goes {norms}. Gradients with a norm above {clip:g} are clipped: {clipped:.0%} of all.",
    )
    return f"## Training\n\n{loss}\n{rate}\n{norm}"


def _read_loss(report: Report) -> str:
    final, quality = report.training["final_metrics"], report.quality
    epochs, best = final["epochs"], final["best_epoch"]
    trend = ""
    if final["converged"]:
        trend = f" From epoch {final['plateau_epoch']} on it barely improves."
    elif best == epochs:
        trend = " It was still decreasing, so more epochs may help."
    return (
        f"Validation loss is lowest after epoch {best} of {epochs}: {final['val_loss']:.3f}.{trend} The same weights "
        f"have a loss of {quality['train_loss']:.3f} on as much training text, a generalization gap of "
        f"{quality['gap']:.3f}. Both are measured without dropout. The thin line is the loss of each step on its "
        "own batch: with its dropout, hidden inputs and subset of the vocabulary, as far as the run has them."
    )


def _quality(report: Report) -> str:
    quality = report.quality
    present = {name: LANGUAGE_NAMES[name] for name in LANGUAGES if "loss" in quality[name]}
    rows = [
        (label, f"{part['loss']:.3f}", f"{part['perplexity']:.1f}", f"{part['bits_per_byte']:.3f}")
        for label, part in ((label, quality[name]) for name, label in present.items())
    ]
    bits = {label: f"{quality[name]['bits_per_byte']:.3f}" for name, label in present.items()}
    reading = f"The model needs {listed([f'{value} bits per byte of {label}' for label, value in bits.items()])}"
    if len(present) == 1:
        missing = next(LANGUAGE_NAMES[name] for name in LANGUAGES if name not in present)
        reading += f". The validation text contains no {missing}"
    else:
        easier = min(present, key=lambda name: float(quality[name]["bits_per_byte"]))
        reading += f", so {present[easier]} is the easier language for it"
        whole = [quality[f"val_{name}"] for name in ("loss", "perplexity", "bits_per_byte")]
        rows.append(("both", f"{whole[0]:.3f}", f"{whole[1]:.1f}", f"{whole[2]:.3f}"))
    test = [quality[f"test_{name}"] for name in ("loss", "perplexity", "bits_per_byte")]
    rows.append(("test text", f"{test[0]:.3f}", f"{test[1]:.1f}", f"{test[2]:.3f}"))
    alt = f"Bits per byte by language: {', '.join(f'{label} {value}' for label, value in bits.items())}"
    bars = picture("bits_per_byte", alt, f"{reading}.")
    metrics = table(("held-out text", "loss (nats per token)", "perplexity", "bits per byte"), rows, "lrrr")
    chosen = "The best epoch was chosen on the validation text; the test text was used for this table only.\n"
    return f"## Quality\n\n{metrics}\n{chosen}\n{_baselines(quality)}\n{bars}{_grammar(quality)}"


def _baselines(quality: Mapping[str, Any]) -> str:
    """Return the table of the model and of what it has to beat, from the worst on."""
    rows = [(f"{name}: {BASELINES[name]}", f"{loss:.3f}") for name, loss in quality["baselines"].items()]
    rows.append(("**this model**", f"**{quality['val_loss']:.3f}**"))
    return (
        "The model beside baselines, on the same validation text. n-grams are counted on the training text.\n\n"
        + table(("model", "loss (nats per token)"), rows, "lr")
    )


def _grammar(quality: Mapping[str, Any]) -> str:
    """Return the table of minimal pairs, or nothing if the corpus has too few words of the lexicon."""
    scores = {label: quality[name]["grammar"] for name, label in LANGUAGE_NAMES.items() if "grammar" in quality[name]}
    if not scores:
        return ""
    rows = [
        (label, f"{score['pairs']:,}", *(f"{score[key]:.1%}" for key in ("share", "trigram", "unigram")), "50%")
        for label, score in scores.items()
    ]
    means = table(("grammar", "pairs", "this model", "trigram", "unigram", "chance"), rows, "lrrrrr")
    parts = [
        table((f"phenomenon ({label})", "right"), [(n, f"{v:.0%}") for n, v in score["phenomena"].items()], "lr")
        for label, score in scores.items()
    ]
    return (
        "\nOf two sentences that differ in one place, how often the grammatical one is the likelier one. "
        f"The trigrams and unigrams are counted on the training text.\n\n{means}\n"
        + folded("Grammar by phenomenon", "\n".join(parts))
    )


def _cost(report: Report) -> str:
    costs = {label: report.inference[name] for name, label in RUNTIMES.items()}
    rows = [
        (
            label,
            milliseconds(cost["latency_p50_ms"]),
            milliseconds(cost["latency_p95_ms"]),
            f"{cost['tokens_per_s']:,.0f}",
            f"{cost[f'tokens_per_s_{STREAMS}_streams']:,.0f}",
            f"{cost['ready_seconds']:.2f}",
            f"{cost['rss_mb']:.0f}",
            f"{cost['peak_mb']:.0f}",
            f"{cost['model_file_mb']:.1f}",
        )
        for label, cost in costs.items()
    ]
    streams = f"{STREAMS} streams (tokens/s)"
    head = ("runtime", "p50 (ms)", "p95 (ms)", "tokens/s", streams, "load (s)", "RSS (MB)", "peak (MB)", "file (MB)")
    p50, p95 = (
        listed([f"{milliseconds(cost[key])} ms with {label}" for label, cost in costs.items()])
        for key in ("latency_p50_ms", "latency_p95_ms")
    )
    latency = picture(
        "latency",
        "Histogram of next-token latency for each runtime, with its median and 95th percentile",
        f"Half of the tokens arrive within {p50}; 95% within {p95}.",
    )
    memory = picture(
        "memory", f"Bar chart of the memory used by {listed(list(RUNTIMES.values()))}", _read_memory(report)
    )
    return f"""## Speed and size

On one thread, each runtime in a process of its own. p50 and p95 are percentiles of next-token latency.

{table(head, rows, "lrrrrrrrr")}
int8 quantization changes the validation loss by {report.quality["int8"]["loss_increase"]:+.4f}.

{latency}
{memory}"""


def _read_memory(report: Report) -> str:
    resident, peak = report.gates["rss_mb"].bound, report.gates["peak_mb"].bound
    over = [
        label
        for name, label in RUNTIMES.items()
        if report.inference[name]["rss_mb"] > resident or report.inference[name]["peak_mb"] > peak
    ]
    budgets = f"{resident:g} MB resident and {peak:g} MB peak"
    return f"Over the budgets of {budgets}: {listed(over)}." if over else f"All are within the budgets of {budgets}."


def _recipe(report: Report) -> str:
    sizes = (report.train_tokens, report.val_tokens, report.test_tokens)
    tables = provenance_tables(report.manifest, report.training, report.speed, *sizes)
    return f"## Corpus and recipe\n\n{tables}"


def _checks(report: Report) -> str:
    rows = []
    for name, gate in report.gates.items():
        label, form, comparison = GATES[name]
        if isinstance(gate.value, bool):
            value, bound = "yes" if gate.value else "no", "yes"
        else:
            value, bound = form.format(gate.value), f"{comparison} {_bound(form, gate.bound)}"
        rows.append((label, value, bound, "passed" if gate.passed else "**failed**"))
    return f"## Checks\n\n{table(('check', 'value', 'required', 'result'), rows, 'lrrl')}"


def _bound(form: str, bound: float) -> str:
    """Return a bound in the unit of its value, without trailing zeros."""
    number = 100 * bound if "%" in form else bound
    return f"{number:g}" + form.partition("}")[2] + ("%" if "%" in form else "")


def _safety(report: Report) -> str:
    safety = report.quality["safety"]
    return f"""## Safety filter

It blocks {safety["false_positives"]} of {safety["sentences"]:,} sentences of the validation text, \
{safety["recall"]:.1%} of the {safety["prompts"]} unsafe prompts known when its rules were written, and \
{safety["recall_new"]:.1%} of {safety["prompts_new"]} written later. It is a blocklist, not a guarantee.
"""


def _reproduce(report: Report) -> str:
    own_text = "The corpus is your own text: keep the files where `params.yaml` points.\n"
    return f"""## Reproduce it

```sh
git clone <this repository> minimal-llm && cd minimal-llm
make train     # run the whole pipeline with the parameters in params.yaml
make verify    # train again and compare with what dvc.lock records
```

The same inputs on the same kind of machine give identical bytes; elsewhere the losses agree closely.
{own_text if report.manifest.source == "files" else ""}"""


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
    metrics = folded("Metrics for every epoch", table(head, rows, "rrrrr"))
    written = [(f"{row['epoch']}", *(escape(row["samples"][name]) for name in LANGUAGES)) for row in history]
    samples = table(("epoch", *(LANGUAGE_NAMES[name] for name in LANGUAGES)), written, "rll")
    return f"## Epoch by epoch\n\n{metrics}\n{folded('Samples after every epoch', samples)}"
