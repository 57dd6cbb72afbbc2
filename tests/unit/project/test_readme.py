"""The numbers in README.md are those of the committed metrics files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.stages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def column(number: int) -> dict[str, str]:
    rows = [line.split("|") for line in README.splitlines() if line.startswith("|") and line.count("|") == 4]
    return {row[1].strip(): row[1 + number].strip() for row in rows}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("number", "files"),
    [(1, ROOT / "data" / "metrics" / "{}.json"), (2, ROOT / "docs" / "reference" / "primer_{}.json")],
)
def test_the_table_of_the_reference_runs_is_that_of_the_metrics_files(number: int, files: Path) -> None:
    shown = column(number)
    quality = read(Path(str(files).format("validation")))
    inference = read(Path(str(files).format("inference")))["fp32"]
    speed = read(Path(str(files).format("train_speed")))
    assert shown["validation loss, nats per token"] == f"{quality['val_loss']:.3f}"
    assert shown["English / Spanish"] == f"{quality['en']['loss']:.3f} / {quality['es']['loss']:.3f}"
    assert shown["perplexity"] == f"{quality['val_perplexity']:.1f}"
    assert shown["bits per byte"] == f"{quality['val_bits_per_byte']:.3f}"
    assert shown["gap to the training loss"] == f"{quality['gap']:.3f}"
    assert shown["minutes of training, 20 epochs"] == f"{speed['total_seconds'] / 60:.1f}"
    assert shown["training, tokens/s"] == f"{speed['tokens_per_s']:,.0f}"
    assert shown["generation, one thread: tokens/s"] == f"{inference['tokens_per_s']:,.0f}"
    assert shown["generation: p95 per token"] == f"{inference['latency_p95_ms']:.2f} ms"
    costs = read(Path(str(files).format("inference")))
    labels = {"fp32": "generation", "onnx": "exported to ONNX", "onnx_int8": "as int8"}
    for name, label in labels.items():
        memory = f"{costs[name]['rss_mb']:.0f} / {costs[name]['peak_mb']:.0f} MB"
        assert shown[f"{label}: resident / peak memory"] == memory
    for name in ("onnx", "onnx_int8"):
        assert shown[f"{labels[name]}: tokens/s"] == f"{costs[name]['tokens_per_s']:,.0f}"
    sizes = " / ".join(f"{costs[name]['model_file_mb']:.1f}" for name in ("onnx", "onnx_int8"))
    assert shown["file, fp32 / int8"] == f"{sizes} MB"


def test_the_readme_is_one_that_a_person_reads() -> None:
    assert len(README.splitlines()) < 200
