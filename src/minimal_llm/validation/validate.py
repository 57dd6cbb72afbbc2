"""The validate stage as one call: a model file in, its quality and cost against bounds out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import read_json, write_bytes, write_json, write_text
from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.manifest import read_manifest
from minimal_llm.inference.benchmark import measure_in_fresh_process
from minimal_llm.inference.latency import Histogram, histogram, histograms_csv
from minimal_llm.inference.safety.filter import SafetyFilter
from minimal_llm.inference.safety.recall import measure_safety, split_sentences
from minimal_llm.inference.torch_decoder import TorchDecoder
from minimal_llm.model.model_file import load_model
from minimal_llm.model.perplexity import Evaluation, measure_losses, total
from minimal_llm.model.transformer import TinyTransformer
from minimal_llm.tokenizer.token_files import TokenFiles, decode_side, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.validation.agreement.stories import measure_agreement
from minimal_llm.validation.exports import measure_exports
from minimal_llm.validation.gates import Gate, all_passed, as_json, budget_gates, quality_gates
from minimal_llm.validation.report.page import RUNTIMES, Report, render_report
from minimal_llm.validation.report.plots import (
    Latencies,
    Memory,
    draw_bits_per_byte,
    draw_gradient_norm,
    draw_latency,
    draw_learning_rate,
    draw_loss,
    draw_memory,
)
from minimal_llm.validation.samples import Sample, write_samples


def validate(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Measure best_model.pt and, when all is known, write its metrics, pictures and report.

    Raises:
        CorpusError: the manifest of the corpus is missing or damaged.
        ValidationError: an artifact is missing, corrupt or not finite; or, under validate.strict, a gate is missed.
    """
    training, speed = _read_record(inputs.training_metrics), _read_record(inputs.train_speed)
    try:
        report, histograms = _measure(config, inputs, training, speed)
        page, pictures = render_report(report), draw_report(report, histograms)
        summary, cost = _summary(report), _cost_in_short(report)
    except LookupError as error:
        raise ValidationError(
            f"{inputs.training_metrics} or {inputs.train_speed} is damaged, or of another version: it lacks {error}",
            remedy="dvc repro --force train",
        ) from error
    _write_metrics(report, outputs)
    write_json(outputs.summary, summary)
    write_json(outputs.cost, cost)
    write_text(outputs.latency, histograms_csv(histograms))
    for name, content in pictures.items():
        write_bytes(outputs.picture(name), content)
    write_text(outputs.report, page)
    _announce(report, outputs)
    _fail_if_missed(report.gates, strict=config.validate_.strict)


def _measure(
    config: Config, inputs: Artifacts, training: Mapping[str, Any], speed: Mapping[str, Any]
) -> tuple[Report, dict[str, Histogram]]:
    """Return all that there is to say about a model, and the latencies of its runtimes by their labels."""
    tokenizer = Tokenizer.load(inputs.tokenizer_model)
    loaded = load_model(inputs.best_model, tokenizer.sha256)
    tokens = read_tokens(inputs.tokens)
    manifest = read_manifest(inputs.corpus_manifest)
    samples = write_samples(TorchDecoder(loaded.model), tokenizer, config.seed)
    quality = _measure_quality(loaded.model, tokenizer, tokens, training, samples, config.seed)
    exports = measure_exports(inputs, tokens.val)
    quality["int8"] = {"loss_increase": exports["onnx-int8"].loss - exports["onnx"].loss}
    costs = {"fp32": measure_in_fresh_process(inputs.best_model)}
    costs |= {name.replace("-", "_"): export.cost for name, export in exports.items()}
    inference = {name: cost.figures for name, cost in costs.items()}
    report = Report(
        manifest=manifest,
        training=training,
        speed=speed,
        train_tokens=len(tokens.train),
        val_tokens=len(tokens.val),
        quality=quality,
        inference=inference,
        quality_gates=quality_gates(quality, training["epoch_history"], config.validate_),
        budget_gates=budget_gates(inference["fp32"], config.validate_),
        samples=samples,
    )
    return report, {RUNTIMES[name]: histogram(cost.latencies_ms) for name, cost in costs.items()}


def draw_report(report: Report, histograms: Mapping[str, Histogram]) -> dict[str, bytes]:
    """Return the pictures of a report by their names, `histograms` being those of its runtimes by their labels."""
    training, quality = report.training, report.quality
    history = training["epoch_history"]
    bits: dict[str, float] = {
        name: quality[name]["bits_per_byte"] for name in LANGUAGES if "bits_per_byte" in quality[name]
    }
    if len(bits) > 1:
        bits["all"] = quality["val_bits_per_byte"]
    figures = {RUNTIMES[name]: figures for name, figures in report.inference.items()}
    latencies = {
        name: Latencies(bins, figures[name]["latency_p50_ms"], figures[name]["latency_p95_ms"])
        for name, bins in histograms.items()
    }
    memory = {name: Memory(part["rss_mb"], part["peak_mb"]) for name, part in figures.items()}
    return {
        "loss": draw_loss(history, training["final_metrics"]["best_epoch"]),
        "learning_rate": draw_learning_rate(history),
        "gradient_norm": draw_gradient_norm(history, training["configuration"]["train.gradient_clip"]),
        "bits_per_byte": draw_bits_per_byte(bits),
        "latency": draw_latency(latencies),
        "memory": draw_memory(memory, report.gates["rss_mb"].bound, report.gates["peak_mb"].bound),
    }


def _measure_quality(
    model: TinyTransformer,
    tokenizer: Tokenizer,
    tokens: TokenFiles,
    training: Mapping[str, Any],
    samples: list[Sample],
    seed: int,
) -> dict[str, Any]:
    train, parts = measure_losses(model, tokens)
    quality = _quality(training["final_metrics"]["train_loss"], tokens.meta.source, train, parts, samples)
    if tokens.meta.source == "primer":
        for language, agreement in measure_agreement(
            TorchDecoder(model), tokenizer, tokens.val, tokens.meta, seed
        ).items():
            quality[language] |= {"agreement": agreement.share, "agreement_groups": agreement.groups}
    validation_text = decode_side(tokens.val, tokenizer)
    quality["safety"] = measure_safety(SafetyFilter.load(), split_sentences(validation_text))
    return quality


def _quality(
    train_loss: float, source: str, train: Evaluation, parts: dict[str, Evaluation], samples: list[Sample]
) -> dict[str, Any]:
    """Return the figures of metrics/validation.json; `train_loss` is that of the best epoch as it was trained."""
    validation = total(parts)
    quality: dict[str, Any] = {
        "corpus": source,
        "val_loss": validation.loss,
        "val_perplexity": validation.perplexity,
        "val_bits_per_byte": validation.bits_per_byte,
        "train_loss": train_loss,
        "gap": validation.loss - train_loss,
        "gap_without_dropout": validation.loss - train.loss,
    }
    for language in LANGUAGES:
        own = [sample for sample in samples if sample.language == language]
        part = parts.get(language)
        figures = (
            {"loss": part.loss, "perplexity": part.perplexity, "bits_per_byte": part.bits_per_byte} if part else {}
        )
        quality[language] = figures | {
            "repetition": sum(sample.repetition for sample in own) / len(own),
            "right_language": sum(sample.detected == language for sample in own) / len(own),
        }
    return quality


def _write_metrics(report: Report, outputs: Artifacts) -> None:
    for path, figures, gates in (
        (outputs.validation_metrics, report.quality, report.quality_gates),
        (outputs.inference_metrics, report.inference, report.budget_gates),
    ):
        write_json(path, {**figures, "gates": as_json(gates), "passed": all_passed(gates)})


def _summary(report: Report) -> dict[str, float]:
    """Return metrics/summary.json: what to compare two runs by, equal for equal runs."""
    quality = report.quality
    return {
        "val_loss": round(quality["val_loss"], 4),
        "bits_per_byte": round(quality["val_bits_per_byte"], 4),
        "gap": round(quality["gap"], 4),
        "best_epoch": report.training["final_metrics"]["best_epoch"],
    }


def _cost_in_short(report: Report) -> dict[str, float]:
    """Return metrics/cost.json: what training and one-stream inference took on this machine."""
    speed, fp32 = report.speed, report.inference["fp32"]
    return {
        "train_minutes": round(speed["total_seconds"] / 60, 2),
        "train_peak_mb": round(speed["peak_memory_mb"]),
        "p95_ms": round(fp32["latency_p95_ms"], 2),
        "peak_mb": round(fp32["peak_mb"]),
    }


def _read_record(path: Path) -> dict[str, Any]:
    """Return what the train stage wrote into a JSON file.

    Raises:
        ValidationError: it is missing or damaged.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("it holds no names")
    except (OSError, ValueError) as error:
        raise ValidationError(f"{path} is missing or damaged: {error}", remedy="dvc repro train") from error
    return content


def _announce(report: Report, outputs: Artifacts) -> None:
    quality, gates = report.quality, report.gates
    torch_figures, device = report.inference["fp32"], report.inference["onnx_int8"]
    print(
        f"corpus: {quality['corpus']}; validation loss {quality['val_loss']:.3f}, perplexity "
        f"{quality['val_perplexity']:.1f}, {quality['val_bits_per_byte']:.3f} bits a byte, gap {quality['gap']:.2f}\n"
        f"inference: {_cost(torch_figures)}; exported as int8: {_cost(device)}, "
        f"validation loss {quality['int8']['loss_increase']:+.4f}\n"
        f"gates: {sum(gate.passed for gate in gates.values())} of {len(gates)} passed; read {outputs.report}"
    )


def _cost(figures: dict[str, Any]) -> str:
    return f"p95 {figures['latency_p95_ms']:.2f} ms a token, {figures['tokens_per_s']:,.0f} tokens/s, \
{figures['peak_mb']:.0f} MB at most"


def _fail_if_missed(gates: Mapping[str, Gate], strict: bool) -> None:
    missed = [f"{name} = {gate.value:.4g} (bound {gate.bound:.4g})" for name, gate in gates.items() if not gate.passed]
    if not missed:
        return
    if strict:
        raise ValidationError(
            f"gates missed: {'; '.join(missed)}", remedy="train longer or change the bounds in params.yaml, validate.*"
        )
    line = "!" * 72
    print(f"{line}\nWARNING: gates missed: {'; '.join(missed)}\n{line}", file=sys.stderr)
