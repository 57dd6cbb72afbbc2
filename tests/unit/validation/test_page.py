"""The report card: its numbers, its remarks on unusual runs, and how it escapes generated text."""

from __future__ import annotations

import copy
import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.manifest import CorpusManifest, DocumentEntry, Source
from minimal_llm.validation.gates import budget_gates, quality_gates
from minimal_llm.validation.report.page import GATES, Report, render_report
from minimal_llm.validation.samples import Sample
from tests.support.report_numbers import unknown_numbers
from tests.support.stages import ROOT

BOUNDS = load_config(ROOT / "params.yaml").validate_
RUNTIME = {
    "engine": "torch",
    "latency_p50_ms": 0.712,
    "latency_p95_ms": 12.813,
    "tokens_per_s": 1354.3,
    "tokens_per_s_8_streams": 4988.1,
    "ready_seconds": 0.996,
    "rss_mb": 269.6,
    "peak_mb": 271.4,
    "model_file_mb": 9.51,
    "threads": 1,
}
QUALITY: dict[str, Any] = {
    "corpus": "gutenberg",
    "val_loss": 4.37899,
    "val_perplexity": 79.7577,
    "val_bits_per_byte": 1.67782,
    "train_loss": 3.97551,
    "gap": 0.40348,
    "test_loss": 4.31234,
    "test_perplexity": 74.6153,
    "test_bits_per_byte": 1.65432,
    "baselines": {"uniform": 8.987, "unigram": 6.789, "bigram": 5.432, "trigram": 4.876},
    "en": {"loss": 4.11618, "perplexity": 61.325, "bits_per_byte": 1.56261, "repetition": 0.0074, "right_language": 1},
    "es": {"loss": 4.64415, "perplexity": 103.97, "bits_per_byte": 1.79625, "repetition": 0.0, "right_language": 0.667},
    "safety": {
        "sentences": 2639,
        "false_positives": 0,
        "false_positive_rate": 0.0,
        "prompts": 419,
        "recall": 0.96181,
        "prompts_new": 84,
        "recall_new": 0.32142,
    },
    "int8": {"loss_increase": 0.00035},
}
QUALITY["en"]["grammar"] = {
    "share": 0.81234,
    "pairs": 823,
    "phenomena": {"agreement with be": 0.86, "articles": 0.76468},
    "unigram": 0.54321,
    "trigram": 0.65432,
}
CONFIGURATION = {
    "seed": 4321,
    "tokenizer.vocab_size": 8000,
    "tokenizer.model_type": "unigram",
    "model.layers": 2,
    "model.d_model": 128,
    "model.heads": 4,
    "model.feed_forward": 256,
    "train.epochs": 3,
    "train.batch_size": 32,
    "train.max_seq_length": 96,
    "train.learning_rate": 0.002,
    "train.warmup_steps": 77,
    "train.min_learning_rate_ratio": 0.15,
    "train.weight_decay": 0.3,
    "train.dropout": 0.35,
    "train.dropout_rise_ratio": 0.25,
    "train.gradient_clip": 1.5,
    "model.tie_embeddings": True,
    "train.init_from": "",
}
SPEED = {
    "total_seconds": 516.28,
    "tokens_per_s": 26640.4,
    "peak_memory_mb": 1626.9,
    "device": "cpu",
    "precision": "bf16",
    "compiled": True,
    "threads": 2,
    "kernels": ["torch 2.13.0+cpu, AVX512, probe 01234567"],
    "cpu": "Abacus 3000",
}


def entry(number: int, language: Language, title: str) -> DocumentEntry:
    return DocumentEntry(
        id=f"pg{number}",
        title=title,
        author="Anonymous",
        language=language,
        url="",
        encoding="utf-8",
        sha256="0" * 64,
        first_line=1,
        last_line=9,
        paragraphs=9,
        bytes=1000,
    )


def manifest(source: Source = "gutenberg", fallback: bool = False, spanish: bool = True) -> CorpusManifest:
    documents = [entry(1, "en", "Twenty *Years* After"), entry(2, "en", "<b>Bold</b>")]
    return CorpusManifest(
        source=source,
        requested_source="gutenberg" if fallback else source,
        fallback=fallback,
        reason="no mirror" if fallback else "",
        bytes_per_language={"en": 1_399_686, "es": 1_288_386 if spanish else 0},
        total_bytes=2_688_072,
        corpus_sha256="0" * 64,
        documents=(*documents, entry(3, "es", "Marianela")) if spanish else tuple(documents),
    )


def epoch(number: int, train_loss: float) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": train_loss,
        "val_loss": 4.4 + 0.1 * abs(number - 2),
        "learning_rate": 0.0021 / (number + 1),
        "gradient_norm": 0.73 + 0.031 * number,
        "samples": {"en": "Once upon a time 99.5 | <i>", "es": "Había una vez"},
    }


def training(epochs: int = 3, best: int = 2, plateau: int = 0) -> dict[str, Any]:
    return {
        "run_id": "fa2e8eb5-aa71-5540-ad40-918d7ac83e5d",
        "model_version": "1.2.3",
        "configuration": CONFIGURATION,
        "epoch_history": [epoch(number, 6.6 - 0.811 * number) for number in range(1, epochs + 1)],
        "final_metrics": {
            "init_from_sha256": "",
            "epochs": epochs,
            "best_epoch": best,
            "val_loss": 4.37896,
            "converged": plateau > 0,
            "plateau_epoch": plateau,
            "clipped_share": 0.43210,
            "parameters": 2376320,
        },
    }


def make_report(quality: dict[str, Any] = QUALITY, rss_mb: float = 269.6, **changes: Any) -> Report:
    """The report of an invented run."""
    record = changes.pop("training", training())
    inference = {"fp32": RUNTIME | {"rss_mb": rss_mb}, "onnx": RUNTIME, "onnx_int8": RUNTIME | {"peak_mb": 77.9}}
    report = Report(
        manifest=manifest(),
        training=record,
        speed=SPEED,
        train_tokens=657326,
        val_tokens=72795,
        test_tokens=36412,
        quality=quality,
        inference=inference,
        quality_gates=quality_gates(quality, record["epoch_history"], BOUNDS),
        budget_gates=budget_gates(inference["fp32"], BOUNDS),
        samples=[
            Sample("en", "Once upon a time there was a *star* | <script>alert(1)</script> of 1,000 & 99.9$", 0.0, "en"),
            Sample("es", "Ella dijo que no.", 0.0, "es"),
        ],
    )
    return replace(report, **changes)


def english_quality() -> dict[str, Any]:
    quality = copy.deepcopy(QUALITY)
    for name in ("loss", "perplexity", "bits_per_byte"):
        del quality["es"][name]
    return quality


REPORTS = {
    "books": make_report(),
    "primer": make_report(QUALITY, manifest=manifest("primer", fallback=True)),
    "one epoch": make_report(training=training(epochs=1, best=1)),
    "one language": make_report(english_quality(), manifest=manifest("files", spanish=False)),
    "failed checks": make_report(QUALITY | {"gap": 0.77, "val_loss": 5.6}, rss_mb=1234.5),
}


@pytest.mark.parametrize("name", REPORTS)
def test_every_number_on_the_page_comes_from_a_file_of_the_run(name: str) -> None:
    report = REPORTS[name]
    page = render_report(report)
    gates = {name: asdict(gate) for name, gate in report.gates.items()}
    files = [report.training, report.speed, report.quality, report.inference, gates]
    files += [report.manifest.model_dump(), {"train_tokens": 657326, "val_tokens": 72795, "test_tokens": 36412}]
    counts = [len(gates), sum(gate["passed"] for gate in gates.values()), len(report.manifest.documents), 1, 2]
    assert unknown_numbers(page, files, counts) == []
    assert unknown_numbers(page.replace("1.678", "1.687"), files, counts) == ["1.687"] * page.count("1.678")


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_shows_every_plot_and_its_tables_are_well_formed(name: str) -> None:
    page = render_report(REPORTS[name])
    for picture in ("loss", "learning_rate", "gradient_norm", "bits_per_byte", "latency", "memory"):
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="plots/{picture}-dark.png">'
        assert len(re.findall(rf'<picture>{re.escape(dark)}<img alt="[^"]+\." src="plots/{picture}.png">', page)) == 1
    blocks = [block for block in page.split("\n\n") if block.startswith("| ")]
    assert len(blocks) >= 8
    for block in blocks:
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1, block


def test_the_text_on_the_loss_names_the_best_epoch() -> None:
    assert "Validation loss is lowest after epoch 2 of 3: 4.379. The same weights" in render_report(make_report())
    decreasing = render_report(make_report(training=training(best=3)))
    assert "lowest after epoch 3 of 3: 4.379. It was still decreasing, so more epochs may help." in decreasing
    flat = render_report(make_report(training=training(best=3, plateau=2)))
    assert "From epoch 2 on it barely improves." in flat
    assert "still decreasing" not in flat


def test_generated_text_and_titles_are_shown_literally() -> None:
    page = render_report(make_report())
    assert "> **Once upon a time** there was a \\*star\\* &#124; &lt;script&gt;alert(1)&lt;/script&gt; of" in page
    assert "&amp; 99.9&#36; …" in page
    assert "> **Ella dijo que** no.\n" in page
    assert "<script>" not in page
    assert "Twenty \\*Years\\* After, &lt;b&gt;Bold&lt;/b&gt;" in page
    assert "| Once upon a time 99.5 &#124; &lt;i&gt; |" in page


def test_a_run_on_the_primer_says_so_at_the_top() -> None:
    page = render_report(REPORTS["primer"])
    top = page[: page.index("## ")]
    assert "Corpus: **primer**" in top
    assert "these results do not carry over to real books" in top
    assert "No mirror could be reached" in top
    assert "Marianela" not in page
    books = render_report(make_report())
    assert "primer" not in books
    assert "mirror" not in books


def test_a_language_without_text_has_no_results() -> None:
    page = render_report(REPORTS["one language"])
    assert "The validation text contains no Spanish." in page
    assert "1.40 MB of English." in page
    assert "| both |" not in page
    assert "| Spanish | 0 | 0.00 |  |" in page
    assert "The corpus is your own text" in page


def test_failed_checks_are_at_the_top_and_runtimes_over_the_memory_budget_are_named() -> None:
    page = render_report(REPORTS["failed checks"])
    assert (
        "**10 of 13** passed; failed: validation loss, generalization gap (validation - training loss), resident"
        in page
    )
    assert "| validation loss | 5.600 | at most 5 | **failed** |" in page
    assert "Over the budgets of 400 MB resident and 512 MB peak: PyTorch." in page
    assert "**13 of 13** passed |" in render_report(make_report())
    assert "All are within the budgets of" in render_report(make_report())


def test_the_page_states_each_bound_in_the_direction_in_which_it_is_checked() -> None:
    bad: dict[str, Any] = {
        "val_loss": 99.0,
        "baselines": {"unigram": 9.0},
        "gap": 99.0,
        "en": {"loss": 99.0, "repetition": 1.0, "right_language": 0.0},
        "es": {"loss": 99.0, "repetition": 1.0, "right_language": 0.0},
        "int8": {"loss_increase": 1.0},
        "safety": {"recall": 0.0, "false_positive_rate": 1.0},
    }
    heavy = {"rss_mb": 9e9, "peak_mb": 9e9, "latency_p95_ms": 9e9}
    is_upper_bound: dict[str, bool] = {}
    for gates in (quality_gates(bad, [{"train_loss": 1.0}, {"train_loss": 99.0}], BOUNDS), budget_gates(heavy, BOUNDS)):
        for name, gate in gates.items():
            if not isinstance(gate.value, bool):
                assert not gate.passed
                is_upper_bound[name] = gate.value > gate.bound
    shown = {name: comparison == "at most" for name, (_, _, comparison) in GATES.items() if comparison}
    assert is_upper_bound == shown


def test_the_page_names_the_weights_that_training_started_from() -> None:
    record = training()
    record["configuration"] = CONFIGURATION | {"train.init_from": "old/best_model.pt"}
    record["final_metrics"] |= {"init_from_sha256": "ab" * 32}
    page = render_report(make_report(training=record))
    assert f"| initialized from | the weights in old/best\\_model.pt, sha256 `{'ab' * 32}` |" in page
    assert "initialized from" not in render_report(make_report())
