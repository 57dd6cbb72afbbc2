"""The plots of the report card, and the histograms that one of them shows."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from minimal_llm.common.files import sha256_of
from minimal_llm.inference.latency import histogram, histograms_csv, lower_edge
from minimal_llm.validation.report.plot_style import TRAINING, VALIDATION
from minimal_llm.validation.report.plots import (
    LANGUAGE_COLORS,
    Latencies,
    Memory,
    draw_bits_per_byte,
    draw_gradient_norm,
    draw_latency,
    draw_learning_rate,
    draw_loss,
    draw_memory,
)
from tests.support.stages import ROOT

HISTORY = [
    {"epoch": n, "train_loss": 7 / n, "val_loss": 6 / n + n / 9, "learning_rate": 0.002 / n, "gradient_norm": 0.5 + n}
    for n in range(1, 31)
]
LATENCIES = {name: Latencies(histogram([ms, ms * 1.1, ms * 9]), ms, ms * 9) for name, ms in (("a", 0.7), ("b", 12.0))}
MEMORY = {"a": Memory(269.6, 271.0), "b": Memory(85.3, 640.0), "c": Memory(77.9, 77.9)}
DRAW: dict[str, Callable[[], bytes]] = {
    "loss": lambda: draw_loss(HISTORY, 7),
    "loss, one epoch": lambda: draw_loss(HISTORY[:1], 1),
    "learning rate": lambda: draw_learning_rate(HISTORY),
    "learning rate, one epoch": lambda: draw_learning_rate(HISTORY[:1]),
    "gradient norm": lambda: draw_gradient_norm(HISTORY, 1.0),
    "gradient norm, one epoch": lambda: draw_gradient_norm(HISTORY[:1], 100.0),
    "bits": lambda: draw_bits_per_byte({"en": 1.56, "es": 1.79, "all": 1.67}),
    "bits, one language": lambda: draw_bits_per_byte({"es": 1.79}),
    "latency": lambda: draw_latency(LATENCIES),
    "latency, all equal": lambda: draw_latency({"a": Latencies(histogram([0.5] * 300), 0.5, 0.5)}),
    "memory": lambda: draw_memory(MEMORY, 400, 512),
    "memory, larger resident budget": lambda: draw_memory(MEMORY, 512, 400),
}


@cache
def drawn(name: str) -> bytes:
    return DRAW[name]()


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_is_a_small_png_file_with_two_pixels_per_pixel_of_the_page(name: str) -> None:
    content = drawn(name)
    picture = opened(content)
    assert (picture.format, picture.width) == ("PNG", 1440)
    assert 200 <= picture.height <= 720
    assert len(content) < 60_000
    assert picture.info.keys() <= {"transparency"}  # neither date nor program
    assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def colors(content: bytes) -> set[str]:
    """Return the colors that cover some area."""
    picture = opened(content).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for count, pixel in picture.getcolors(1 << 24) if count > 500}


def test_the_same_thing_has_the_same_color_in_every_plot() -> None:
    assert {TRAINING, VALIDATION} <= colors(drawn("loss"))
    assert TRAINING in colors(drawn("learning rate"))
    assert set(LANGUAGE_COLORS.values()) <= colors(drawn("bits"))
    assert LANGUAGE_COLORS["es"] in colors(drawn("bits, one language"))
    assert LANGUAGE_COLORS["en"] not in colors(drawn("bits, one language"))


DRAW_ALL = """
import hashlib, sys
import minimal_llm.validation.report.page
assert "matplotlib" not in sys.modules, "loaded by an import"
from tests.unit.validation.test_plots import DRAW
for name in sys.argv[1:]:
    print(name, hashlib.sha256(DRAW[name]()).hexdigest())
"""


def test_the_same_data_gives_the_same_bytes_whatever_the_user_settings(tmp_path: Path) -> None:
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.family: monospace\nlines.linewidth: 9\naxes.facecolor: red\nbackend: svg\n", "utf-8")
    names = [name for name in DRAW if "," not in name]
    done = subprocess.run(
        [sys.executable, "-c", DRAW_ALL, *names],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} {sha256_of(drawn(name))}" for name in names]


def test_a_histogram_holds_every_latency_between_two_empty_bins() -> None:
    latencies = [0.1831, 0.19, 0.19, 0.25, 3.7, 0.0]
    bins = histogram(latencies)
    assert sum(bins.values()) == len(latencies)
    edges = list(bins)
    assert edges == sorted(edges)
    assert (bins[edges[0]], bins[edges[-1]]) == (0, 0)
    for edge, tokens in bins.items():
        inside = [ms for ms in latencies if 1.001 * lower_edge(edge) < max(ms, 1e-3) <= 1.001 * edge]
        assert len(inside) == tokens
    lines = histograms_csv({"PyTorch": bins, "ONNX": histogram([1.0])}).splitlines()
    assert lines[0] == "runtime,milliseconds,tokens"
    assert lines[-3:] == ["ONNX,0.9441,0", "ONNX,1,1", "ONNX,1.059,0"]
    assert f"PyTorch,{edges[1]:g},{bins[edges[1]]}" in lines
