"""The validate stage as one call: a model file in, its quality and cost against bounds out."""

from __future__ import annotations

import sys
from typing import Any

from minimal_llm.artifacts import Artifacts
from minimal_llm.config import Config
from minimal_llm.decoder import TorchDecoder
from minimal_llm.errors import ValidationError
from minimal_llm.evaluation import Evaluation, total
from minimal_llm.exported import measure_exports
from minimal_llm.files import read_json, write_json, write_text
from minimal_llm.gates import Gate, all_passed, as_json, budget_gates, quality_gates
from minimal_llm.language import LANGUAGES
from minimal_llm.model_file import load_model
from minimal_llm.report import Report, render_report
from minimal_llm.runtime import measure_in_fresh_process
from minimal_llm.safety import SafetyFilter
from minimal_llm.safety_measure import measure_safety, split_sentences
from minimal_llm.samples import Sample, write_samples
from minimal_llm.stories import measure_agreement
from minimal_llm.token_files import decode_side, read_tokens
from minimal_llm.tokenizer import Tokenizer
from minimal_llm.training.gap import measure_losses


def validate(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Measure best_model.pt and write metrics/validation.json, metrics/inference.json and report.md.

    Raises:
        ValidationError: an artifact is missing, corrupt or not finite; or, under validate.strict, a gate is missed.
    """
    tokenizer = Tokenizer.load(inputs.tokenizer_model)
    loaded = load_model(inputs.best_model, tokenizer.sha256)
    tokens = read_tokens(inputs.tokens)
    training = _read_training_metrics(inputs)
    train, parts = measure_losses(loaded.model, tokens)
    samples = write_samples(TorchDecoder(loaded.model), tokenizer, config.seed)
    quality = _quality(training["final_metrics"]["train_loss"], tokens.meta.source, train, parts, samples)
    if tokens.meta.source == "primer":
        for language, agreement in measure_agreement(
            TorchDecoder(loaded.model), tokenizer, tokens.val, tokens.meta, config.seed
        ).items():
            quality[language] |= {"agreement": agreement.share, "agreement_groups": agreement.groups}
    validation_text = decode_side(tokens.val, tokenizer)
    quality["safety"] = measure_safety(SafetyFilter.load(), split_sentences(validation_text))
    exports = measure_exports(inputs, tokens.val)
    quality["int8"] = {"loss_increase": exports["onnx-int8"]["loss"] - exports["onnx"]["loss"]}
    gates = quality_gates(quality, training["epoch_history"], config.validate_)
    inference = {"fp32": measure_in_fresh_process(inputs.best_model)}
    inference |= {name.replace("-", "_"): measured["cost"] for name, measured in exports.items()}
    budgets = budget_gates(inference["fp32"], config.validate_)

    write_json(outputs.validation_metrics, {**quality, "gates": as_json(gates), "passed": all_passed(gates)})
    write_json(
        outputs.inference_metrics,
        {**inference, "gates": as_json(budgets), "passed": all_passed(budgets)},
    )
    report = Report(
        training=training, quality=quality, inference=inference, gates={**gates, **budgets}, samples=samples
    )
    write_text(outputs.report, render_report(report))
    _announce(quality, inference, {**gates, **budgets}, outputs)
    _fail_if_missed({**gates, **budgets}, strict=config.validate_.strict)


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


def _read_training_metrics(inputs: Artifacts) -> dict[str, Any]:
    path = inputs.training_metrics
    try:
        training = read_json(path)
        training["epoch_history"][0]["train_loss"], training["final_metrics"]["train_loss"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValidationError(f"{path} is missing or damaged: {error}", remedy="dvc repro train") from error
    result: dict[str, Any] = training
    return result


def _announce(quality: dict[str, Any], inference: dict[str, Any], gates: dict[str, Gate], outputs: Artifacts) -> None:
    torch_figures, device = inference["fp32"], inference["onnx_int8"]
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


def _fail_if_missed(gates: dict[str, Gate], strict: bool) -> None:
    missed = [f"{name} = {gate.value:.4g} (bound {gate.bound:.4g})" for name, gate in gates.items() if not gate.passed]
    if not missed:
        return
    if strict:
        raise ValidationError(
            f"gates missed: {'; '.join(missed)}", remedy="train longer or change the bounds in params.yaml, validate.*"
        )
    line = "!" * 72
    print(f"{line}\nWARNING: gates missed: {'; '.join(missed)}\n{line}", file=sys.stderr)
