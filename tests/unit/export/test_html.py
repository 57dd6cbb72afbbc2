"""The HTML export as a file. tests/integration/test_page.py opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wasmtime

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.errors import ConfigurationError, ValidationError
from minimal_llm.common.files import read_sealed
from minimal_llm.export.export import export
from minimal_llm.export.html.embedding_map import embedding_map
from minimal_llm.export.html.weights import pack_model
from minimal_llm.export.onnx.quantization import quantize_rows
from minimal_llm.export.source import Source
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.tokenizer import Tokenizer
from tests.support.stages import ROOT, copy_folder

PAGE = ROOT / "src" / "minimal_llm" / "export" / "html" / "page"


def exported(data: Artifacts, output: Path, precision: str | None = None) -> Path:
    export(data.best_model, data.tokenizer_model, data.root, "html", output, precision)
    (page,) = output.glob("*.html")
    return page


def block(page: Path, name: str) -> Any:
    found = re.search(rf'id="data-{name}">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1] if name in ("weights", "kernel") else json.loads(found[1])


def test_the_page_is_named_after_its_run_and_contains_what_is_known_of_it(
    validated_folder: Path, tmp_path: Path
) -> None:
    data = Artifacts(validated_folder)
    page, training = exported(data, tmp_path / "out"), read_sealed(data.training_metrics)
    assert page.name == f"minimal-llm-{training['run_id'][:8]}.html"
    run = block(page, "run")
    assert run["training"]["epoch_history"] == training["epoch_history"]
    assert run["quality"] == json.loads(data.validation_metrics.read_text())
    assert run["corpus"]["source"] == "primer"
    assert "Open the HTML file in a browser" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_without_its_run_is_named_after_its_weights(tokens_folder: Path, tmp_path: Path) -> None:
    data = Artifacts(copy_folder(tokens_folder, tmp_path / "data"))
    tokenizer = Tokenizer.load(data.tokenizer_model)
    model = TinyTransformer(Architecture(tokenizer.vocab_size, 1, 64, 2, 128, True, 32))
    save_model(data.best_model, model, tokenizer.sha256, model.state_dict())
    names = {exported(data, tmp_path / "out", precision).name for precision in (None, "int8")}
    assert len(names) == 1
    assert not block(tmp_path / "out" / names.pop(), "run")["known"]


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_no_connection(
    validated_folder: Path, tmp_path: Path
) -> None:
    text = exported(Artifacts(validated_folder), tmp_path / "out").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == rules["connect-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, pattern in (("script", r'<script type="module">(.*?)</script>'), ("style", r"<style>(.*?)</style>")):
        (content,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{kind}-src"].split() == [f"'sha256-{digest}'", *(["'wasm-unsafe-eval'"] * (kind == "script"))]
    assert not re.search(r"\b(?:src|href)=\"(?!data:,)", text)
    assert "unsafe-inline" not in text


def test_equal_inputs_give_equal_bytes_whatever_the_number_of_threads(validated_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from minimal_llm.export.export import export;"
        "data = Path(sys.argv[1]);"
        "export(data / 'best_model.pt', data / 'bilingual_8k.model', data, 'html', Path(sys.argv[2]))"
    )
    for threads in "12":
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", code, str(validated_folder), str(tmp_path / threads)]
        subprocess.run(command, check=True, env=environment)
    first, second = (next((tmp_path / threads).glob("*.html")).read_bytes() for threads in "12")
    assert first == second


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_weights_are_those_of_the_model_in_rows_of_a_multiple_of_eight(precision: str, tokens_folder: Path) -> None:
    torch.manual_seed(0)
    model = TinyTransformer(Architecture(1000, 1, 70, 5, 129, False, 32))
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    tokenizer = Tokenizer.load(Artifacts(tokens_folder).tokenizer_model)
    described, blob = pack_model(Source(model.architecture, weights, tokenizer, "1.0.0"), precision)
    assert {f"{name}.weight" for name in described["tensors"]} == set(weights)
    for name, place in described["tensors"].items():
        weight = weights[f"{name}.weight"]
        rows = np.dtype(np.int8 if precision == "int8" and "rows" in place else np.float32)
        shape = (place["rows"], place["columns"]) if "rows" in place else weight.shape
        stored = np.frombuffer(blob, rows, int(np.prod(shape)), place["at"]).reshape(shape)
        assert place["at"] % 16 == shape[-1] % 8 == 0 or "rows" not in place
        expected = weight
        if rows == np.int8:
            expected, scales = quantize_rows(weight)
            assert np.array_equal(np.frombuffer(blob, np.float32, len(scales), place["scales"]), scales[:, 0])
        assert np.array_equal(stored[..., : weight.shape[-1]], expected)
        assert not stored[..., weight.shape[-1] :].any()


def test_the_kernel_is_what_its_source_says() -> None:
    source = (PAGE / "kernel.wat").read_text(encoding="utf-8")
    assert wasmtime.wat2wasm(source) == (PAGE / "kernel.wasm").read_bytes()


def test_tokens_with_similar_vectors_are_close_on_the_map() -> None:
    random = np.random.default_rng(1)
    centres = random.normal(size=(4, 32))
    vectors = (centres[np.arange(80) % 4] + 0.2 * random.normal(size=(80, 32))).astype(np.float32)
    places = embedding_map(vectors)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(80)
    assert (distances.argmin(axis=1) % 4 == np.arange(80) % 4).all()
    assert np.abs(places).max() == 1000
    assert np.array_equal(places, embedding_map(vectors))
    assert np.isfinite(embedding_map(np.ones((3, 4), np.float32))).all()


def test_other_formats_have_no_precision_to_choose(validated_folder: Path, tmp_path: Path) -> None:
    data = Artifacts(validated_folder)
    with pytest.raises(ConfigurationError, match="one precision"):
        export(data.best_model, data.tokenizer_model, data.root, "onnx", tmp_path / "out", "fp32")


def test_damaged_training_metrics_are_an_error(validated_folder: Path, tmp_path: Path) -> None:
    data = Artifacts(copy_folder(validated_folder, tmp_path / "data"))
    text = data.training_metrics.read_text()
    data.training_metrics.write_text(text.replace('"val_loss"', '"val_lose"', 1))
    with pytest.raises(ValidationError, match=r"training_metrics\.json"):
        exported(data, tmp_path / "out")


def test_a_model_of_another_tokenizer_is_refused(validated_folder: Path, tmp_path: Path) -> None:
    data = Artifacts(copy_folder(validated_folder, tmp_path / "data"))
    model = load_model(data.best_model).model
    save_model(data.best_model, model, "0" * 64, model.state_dict())
    with pytest.raises(ValidationError, match="trained with tokenizer"):
        exported(data, tmp_path / "out")
