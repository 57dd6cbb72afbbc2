"""The plots of the report card, and the histograms that one of them shows."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from minimal_llm.common.files import sha256_of
from minimal_llm.inference.latency import histogram, histograms_csv, lower_edge
from minimal_llm.validation.report.curves import Steps, draw_gradient_norm, draw_learning_rate, draw_loss
from minimal_llm.validation.report.plot_style import DARK, LIGHT, Theme
from minimal_llm.validation.report.plots import Latencies, Memory, draw_bits_per_byte, draw_latency, draw_memory
from tests.support.stages import ROOT

THEMES = {"light": LIGHT, "dark": DARK}
STEPS_PER_EPOCH = 50
HISTORY = [
    {"epoch": n, "step": n * STEPS_PER_EPOCH, "train_loss": 3 + 3 / n, "val_loss": 3.2 + 3 / n + n / 90}
    for n in range(1, 31)
]
BY_STEPS = [
    {"epoch": n / 5, "step": n * STEPS_PER_EPOCH // 5, "train_loss": 4 + 2 / n, "val_loss": 4.5 + 2 / n}
    for n in range(1, 9)
]
BASELINES = {"uniform": 8.987, "unigram": 6.855, "bigram": 5.149, "trigram": 4.867}


def steps(count: int, spike: float = 1.0, interval: int = 1) -> Steps:
    """An invented record: the loss falls from 9 to 3, the norm rises from 0.5 to 1.5, noise on both; and a spike."""
    generator, number = np.random.default_rng(0), np.arange(1.0, count + 1)
    norms = 0.5 + number / count + generator.normal(0, 0.1, count)
    norms[count // 2] *= spike
    return {
        "step": number * interval,
        "batch_loss": 3 + 6 * np.exp(-7 * number / count) + generator.normal(0, 0.1, count) + (number == count // 2),
        "learning_rate": 0.002 * np.minimum(number / 100, 1 - number / count / 2),
        "gradient_norm": norms,
        "clipped": (norms > 1).astype(float),
    }


STEPS = steps(30 * STEPS_PER_EPOCH)
ONE = steps(STEPS_PER_EPOCH)
LATENCIES = {name: Latencies(histogram([ms, ms * 1.1, ms * 9]), ms, ms * 9) for name, ms in (("a", 0.7), ("b", 12.0))}
MEMORY = {"a": Memory(269.6, 271.0), "b": Memory(85.3, 640.0), "c": Memory(77.9, 77.9)}
DRAW: dict[str, Callable[[Theme], bytes]] = {
    "loss": lambda theme: draw_loss(HISTORY, STEPS, 7, BASELINES, theme),
    "loss, one epoch": lambda theme: draw_loss(HISTORY[:1], ONE, 1, BASELINES, theme),
    "loss, parts of epochs": lambda theme: draw_loss(BY_STEPS, steps(80), 1.6, BASELINES, theme),
    "loss, one step": lambda theme: draw_loss(
        [HISTORY[0] | {"epoch": 0.02, "step": 1}], steps(1), 0.02, BASELINES, theme
    ),
    "loss, thousands of epochs": lambda theme: draw_loss(
        [row | {"epoch": 100 * row["epoch"]} for row in HISTORY], STEPS, 700, BASELINES, theme
    ),
    "learning rate": lambda theme: draw_learning_rate(STEPS, theme),
    "learning rate, one epoch": lambda theme: draw_learning_rate(ONE, theme),
    "gradient norm": lambda theme: draw_gradient_norm(STEPS, 1.0, theme),
    "gradient norm, far below the threshold": lambda theme: draw_gradient_norm(
        ONE | {"clipped": np.zeros(50)}, 100.0, theme
    ),
    "gradient norm, far above the threshold": lambda theme: draw_gradient_norm(
        ONE | {"clipped": np.ones(50)}, 0.01, theme
    ),
    "gradient norm, a spike": lambda theme: draw_gradient_norm(steps(1000, spike=900.0, interval=64), 1.0, theme),
    "bits": lambda theme: draw_bits_per_byte({"en": 1.56, "es": 1.79, "all": 1.67}, theme),
    "bits, one language": lambda theme: draw_bits_per_byte({"es": 1.79}, theme),
    "latency": lambda theme: draw_latency(LATENCIES, theme),
    "latency, all equal": lambda theme: draw_latency({"a": Latencies(histogram([0.5] * 300), 0.5, 0.5)}, theme),
    "memory": lambda theme: draw_memory(MEMORY, 400, 512, theme),
    "memory, larger resident budget": lambda theme: draw_memory(MEMORY, 512, 400, theme),
}


@cache
def drawn(name: str, theme: str = "light") -> bytes:
    return DRAW[name](THEMES[theme])


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", DRAW)
def test_a_plot_is_a_small_png_file_with_two_pixels_per_pixel_of_the_page(name: str, theme: str) -> None:
    content = drawn(name, theme)
    picture = opened(content)
    assert (picture.format, picture.width) == ("PNG", 1440)
    assert 200 <= picture.height <= 720
    assert len(content) < 60_000
    assert picture.info.keys() <= {"transparency"}  # neither date nor program
    pixels = np.asarray(picture.convert("RGB"))
    edges = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3), pixels[:, :3].reshape(-1, 3),
                            pixels[:, -3:].reshape(-1, 3)])  # fmt: skip
    assert (edges == ImageColor.getrgb(THEMES[theme].paper)).all()  # nothing is cut off


def colors(content: bytes) -> set[str]:
    """Return the colors that cover some area."""
    picture = opened(content).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for count, pixel in picture.getcolors(1 << 24) if count > 500}


@pytest.mark.parametrize("name", THEMES)
def test_the_same_thing_has_the_same_color_in_every_plot(name: str) -> None:
    theme = THEMES[name]
    assert {theme.training, theme.validation} <= colors(drawn("loss", name))
    assert theme.training in colors(drawn("learning rate", name))
    assert {theme.english, theme.spanish} <= colors(drawn("bits", name))
    assert theme.spanish in colors(drawn("bits, one language", name))
    assert theme.english not in colors(drawn("bits, one language", name))


def test_steps_that_were_clipped_have_another_color() -> None:
    assert {LIGHT.training, LIGHT.validation} <= colors(drawn("gradient norm"))
    assert LIGHT.validation not in colors(drawn("gradient norm, far below the threshold"))
    assert LIGHT.training not in colors(drawn("gradient norm, far above the threshold"))


def luminance(color: str) -> float:
    parts = [part / 255 for part in ImageColor.getrgb(color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_curves_have_the_contrast_that_wcag_asks_for(theme: Theme) -> None:
    for color, least in (
        *((color, 4.5) for color in (theme.ink, theme.muted)),
        *((color, 3.8) for color in (theme.training, theme.validation)),  # bold, or curves: 3 is required
        *((color, 3.0) for color in (theme.english, theme.spanish)),
        *((color, 2.0) for color in theme.runtimes),  # next to their names
    ):
        light, dark = sorted((luminance(color), luminance(theme.paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, color


DRAW_ALL = """
import hashlib, sys
import minimal_llm.validation.report.page
assert "matplotlib" not in sys.modules, "loaded by an import"
from tests.unit.validation.test_plots import DRAW, THEMES
for name in sys.argv[1:]:
    print(name, hashlib.sha256(DRAW[name](THEMES["dark"])).hexdigest())
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
    assert done.stdout.splitlines() == [f"{name} {sha256_of(drawn(name, 'dark'))}" for name in names]


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
