"""Stage validate: measure a trained model, check it against its bounds, and write metrics, plots and the report."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from minimal_llm.common.artifacts import VARIANTS, Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import read_json, read_sealed, sha256_of, write_bytes, write_json, write_text
from minimal_llm.common.system import physical_cores
from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.manifest import read_manifest
from minimal_llm.inference.benchmark import measure_in_fresh_process
from minimal_llm.inference.latency import Histogram, histogram, histograms_csv
from minimal_llm.inference.safety.filter import SafetyFilter
from minimal_llm.inference.safety.recall import measure_safety, split_sentences
from minimal_llm.inference.torch_decoder import TorchDecoder
from minimal_llm.model.model_file import RETRAIN, load_model
from minimal_llm.model.ngrams import ORDERS, NGrams
from minimal_llm.model.perplexity import Evaluation, excerpt, measure_losses, measure_test, total
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import TokenFiles, decode_split, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.validation.exports import measure_exports
from minimal_llm.validation.gates import Gate, all_passed, as_json, budget_gates, quality_gates
from minimal_llm.validation.grammar.score import measure_grammar
from minimal_llm.validation.report.curves import Steps, draw_gradient_norm, draw_learning_rate, draw_loss
from minimal_llm.validation.report.page import RUNTIMES, Report, render_report
from minimal_llm.validation.report.plot_style import DARK, LIGHT, Theme
from minimal_llm.validation.report.plots import Latencies, Memory, draw_bits_per_byte, draw_latency, draw_memory
from minimal_llm.validation.samples import Sample, write_samples


def validate(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Measure best_model.pt, then write its metrics, plots and report; nothing is written if measuring fails.

    Raises:
        CorpusError: the corpus manifest is missing or damaged.
        ValidationError: an artifact is missing, damaged or not finite; or a gate failed and validate.strict is set.
    """
    training, speed = _read(inputs.training_metrics, read_sealed), _read(inputs.train_speed, read_json)
    try:
        steps = _read_steps(inputs.steps, training["steps_sha256"])
        report, histograms = _measure(config, inputs, training, speed)
        page = render_report(report)
        themes = zip(VARIANTS, (LIGHT, DARK), strict=True)
        plots = {variant: draw_report(report, histograms, steps, theme) for variant, theme in themes}
        summary, cost = _summary(report), _cost_summary(report)
    except LookupError as error:
        raise ValidationError(
            f"{inputs.training_metrics} or {inputs.train_speed} is damaged or from another version: {error} is missing",
            remedy="dvc repro --force train",
        ) from error
    _write_metrics(report, outputs)
    write_json(outputs.summary, summary)
    write_json(outputs.cost, cost)
    write_text(outputs.latency, histograms_csv(histograms))
    for variant, drawn in plots.items():
        for name, content in drawn.items():
            write_bytes(outputs.picture(name, variant), content)
    write_text(outputs.report, page)
    _announce(report, outputs)
    _report_failures(report.gates, strict=config.validate_.strict)


def _measure(
    config: Config, inputs: Artifacts, training: Mapping[str, Any], speed: Mapping[str, Any]
) -> tuple[Report, dict[str, Histogram]]:
    """Return the results for the report, and the latency histogram of each runtime by its label."""
    # As many as in training: the last digits of a loss depend on it, and train.json has the same loss.
    torch.set_num_threads(min(speed["threads"], physical_cores()))
    tokenizer = Tokenizer.load(inputs.tokenizer_model)
    loaded = load_model(inputs.best_model, tokenizer.sha256)
    tokens = read_tokens(inputs.tokens)
    manifest = read_manifest(inputs.corpus_manifest)
    samples = write_samples(TorchDecoder(loaded.model), tokenizer, config.seed)
    quality = _measure_quality(loaded.model, tokenizer, tokens, samples)
    exports = measure_exports(inputs, tokens.val)
    quality["int8"] = {"loss_increase": exports["onnx-int8"].loss - exports["onnx"].loss}
    costs = {"fp32": measure_in_fresh_process(inputs.best_model)}
    costs |= {name.replace("-", "_"): export.cost for name, export in exports.items()}
    inference = {name: cost.metrics for name, cost in costs.items()}
    report = Report(
        manifest=manifest,
        training=training,
        speed=speed,
        train_tokens=len(tokens.train),
        val_tokens=len(tokens.val),
        test_tokens=len(tokens.ids["test"]),
        quality=quality,
        inference=inference,
        quality_gates=quality_gates(quality, training["epoch_history"], config.validate_),
        budget_gates=budget_gates(inference["fp32"], config.validate_),
        samples=samples,
    )
    return report, {RUNTIMES[name]: histogram(cost.latencies_ms) for name, cost in costs.items()}


def draw_report(
    report: Report, histograms: Mapping[str, Histogram], steps: Steps, theme: Theme = LIGHT
) -> dict[str, bytes]:
    """Return the plots of a report by name; `histograms` has the latencies of its runtimes by label."""
    training, quality = report.training, report.quality
    history = training["epoch_history"]
    bits: dict[str, float] = {
        name: quality[name]["bits_per_byte"] for name in LANGUAGES if "bits_per_byte" in quality[name]
    }
    if len(bits) > 1:
        bits["all"] = quality["val_bits_per_byte"]
    costs = {RUNTIMES[name]: cost for name, cost in report.inference.items()}
    latencies = {
        name: Latencies(bins, costs[name]["latency_p50_ms"], costs[name]["latency_p95_ms"])
        for name, bins in histograms.items()
    }
    memory = {name: Memory(cost["rss_mb"], cost["peak_mb"]) for name, cost in costs.items()}
    return {
        "loss": draw_loss(history, steps, training["final_metrics"]["best_epoch"], quality["baselines"], theme),
        "learning_rate": draw_learning_rate(steps, theme),
        "gradient_norm": draw_gradient_norm(steps, training["configuration"]["train.gradient_clip"], theme),
        "bits_per_byte": draw_bits_per_byte(bits, theme),
        "latency": draw_latency(latencies, theme),
        "memory": draw_memory(memory, report.gates["rss_mb"].bound, report.gates["peak_mb"].bound, theme),
    }


def _measure_quality(
    model: TinyTransformer,
    tokenizer: Tokenizer,
    tokens: TokenFiles,
    samples: list[Sample],
) -> dict[str, Any]:
    train, parts = measure_losses(model, tokens)
    quality = _quality(tokens.meta.source, train, parts, measure_test(model, tokens), samples)
    counts = NGrams(tokens.train, tokens.meta.vocab_size)
    quality["baselines"] = {name: counts.loss(tokens.val, order) for order, name in enumerate(ORDERS)}
    for language, grammar in measure_grammar(model, tokenizer, tokens).items():
        quality[language]["grammar"] = {"share": grammar.share, **asdict(grammar)}
    validation_text = decode_split(excerpt(tokens.val), tokenizer)
    quality["safety"] = measure_safety(SafetyFilter.load(), split_sentences(validation_text))
    return quality


def _quality(
    source: str, train: Evaluation, parts: dict[str, Evaluation], test: Evaluation, samples: list[Sample]
) -> dict[str, Any]:
    """Return the content of metrics/validation.json, all losses without dropout and in fp32."""
    validation = total(parts)
    quality: dict[str, Any] = {
        "corpus": source,
        "val_loss": validation.loss,
        "val_perplexity": validation.perplexity,
        "val_bits_per_byte": validation.bits_per_byte,
        "test_loss": test.loss,
        "test_perplexity": test.perplexity,
        "test_bits_per_byte": test.bits_per_byte,
        "train_loss": train.loss,
        "gap": validation.loss - train.loss,
    }
    for language in LANGUAGES:
        own = [sample for sample in samples if sample.language == language]
        part = parts.get(language)
        losses = {"loss": part.loss, "perplexity": part.perplexity, "bits_per_byte": part.bits_per_byte} if part else {}
        quality[language] = losses | {
            "repetition": sum(sample.repetition for sample in own) / len(own),
            "right_language": sum(sample.detected == language for sample in own) / len(own),
        }
    return quality


def _write_metrics(report: Report, outputs: Artifacts) -> None:
    for path, metrics, gates in (
        (outputs.validation_metrics, report.quality, report.quality_gates),
        (outputs.inference_metrics, report.inference, report.budget_gates),
    ):
        write_json(path, {**metrics, "gates": as_json(gates), "passed": all_passed(gates)})


def _summary(report: Report) -> dict[str, float]:
    """Return metrics/summary.json: the metrics to compare runs by, the same for identical runs."""
    quality = report.quality
    grammar = [quality[name]["grammar"]["share"] for name in LANGUAGES if "grammar" in quality[name]]
    return {
        "val_loss": round(quality["val_loss"], 4),
        "bits_per_byte": round(quality["val_bits_per_byte"], 4),
        "test_bits_per_byte": round(quality["test_bits_per_byte"], 4),
        "gap": round(quality["gap"], 4),
        **({"grammar": round(mean(grammar), 4)} if grammar else {}),
        "best_epoch": report.training["final_metrics"]["best_epoch"],
    }


def _cost_summary(report: Report) -> dict[str, float]:
    """Return metrics/cost.json: what training and single-stream inference cost on this machine."""
    speed, fp32 = report.speed, report.inference["fp32"]
    return {
        "train_minutes": round(speed["total_seconds"] / 60, 2),
        "train_peak_mb": round(speed["peak_memory_mb"]),
        "p95_ms": round(fp32["latency_p95_ms"], 2),
        "peak_mb": round(fp32["peak_mb"]),
    }


def _read(path: Path, reader: Callable[[Path], Any]) -> dict[str, Any]:
    """Return the content of a JSON file written by stage train.

    Raises:
        ValidationError: the file is missing or damaged.
    """
    try:
        content = reader(path)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise ValidationError(f"{path} is missing or damaged: {error}", remedy="make train") from error
    return content


def _read_steps(path: Path, sha256: str) -> Steps:
    """Return the columns of plots/steps.csv, which stage train wrote.

    Raises:
        ValidationError: the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror}", remedy=RETRAIN) from error
    if sha256_of(content) != sha256:
        raise ValidationError(f"{path} is not the one of this run: its hash is not that in its metrics", remedy=RETRAIN)
    head, *rows = csv.reader(content.decode().splitlines())
    return dict(zip(head, np.array(rows, np.float64).T, strict=True))


def _announce(report: Report, outputs: Artifacts) -> None:
    quality, gates = report.quality, report.gates
    passed = sum(gate.passed for gate in gates.values())
    checks = f"All {len(gates)}" if all_passed(gates) else f"{passed} of {len(gates)}"
    print(
        f"Validation loss {quality['val_loss']:.3f} nats per token, perplexity {quality['val_perplexity']:.1f}, "
        f"{quality['val_bits_per_byte']:.3f} bits per byte; on the test text {quality['test_bits_per_byte']:.3f}\n"
        f"Generalization gap {quality['gap']:.2f} (corpus: {quality['corpus']})\n"
        f"Inference: {_cost_line(report.inference['fp32'])}\n"
        f"int8 export: {_cost_line(report.inference['onnx_int8'])}, loss {quality['int8']['loss_increase']:+.4f}\n"
        f"{checks} checks passed. Full report: {outputs.report}"
    )


def _cost_line(cost: Mapping[str, Any]) -> str:
    speed = f"{cost['tokens_per_s']:,.0f} tokens/s, p95 latency {cost['latency_p95_ms']:.2f} ms"
    return f"{speed}, peak memory {cost['peak_mb']:.0f} MB"


def _report_failures(gates: Mapping[str, Gate], strict: bool) -> None:
    failed = [f"{name} = {gate.value:.4g} (bound {gate.bound:.4g})" for name, gate in gates.items() if not gate.passed]
    if not failed:
        return
    message = f"{len(failed)} of {len(gates)} checks failed: {'; '.join(failed)}"
    if strict:
        raise ValidationError(message, remedy="train longer, or change the bounds in params.yaml (validate.*)")
    line = "!" * 72
    print(f"{line}\nWARNING: {message}\n{line}", file=sys.stderr)
