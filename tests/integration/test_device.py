"""Exported models in ONNX Runtime, as a small device runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from minimal_llm.cli.main import main
from minimal_llm.inference.onnx_decoder import OnnxDecoder
from minimal_llm.model.model_file import load_model
from minimal_llm.model.perplexity import evaluate
from minimal_llm.tokenizer.token_files import read_tokens
from minimal_llm.validation.exports import decoder_loss
from tests.support.stages import copy_folder, run_program

FORMATS = ("onnx", "onnx-int8")
WITHOUT_TORCH = """
import sys
from minimal_llm.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "dvc", "pydantic", "onnx"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else code)
"""


@pytest.fixture(scope="module")
def exported(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small trained model in both formats. Do not write into it."""
    folder = tmp_path_factory.mktemp("exported")
    for name in FORMATS:
        model = str(trained_folder / "best_model.pt")
        assert main(["export", "--model", model, "--format", name, "-o", str(folder / name)]) == 0
    return folder


def generate(model: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished command, after checking that it loaded nothing that a device lacks."""
    return run_program(sys.executable, "-c", WITHOUT_TORCH, "generate", "--model", str(model), *arguments)


def test_the_logits_are_those_of_torch_token_by_token_and_close_to_them_as_int8(
    exported: Path, trained_folder: Path
) -> None:
    model = load_model(trained_folder / "best_model.pt").model
    decoders = [OnnxDecoder(exported / name / "model.onnx", threads=1) for name in FORMATS]
    tokens = np.random.default_rng(0).integers(0, model.architecture.vocab_size, (2, 32)).tolist()
    both = [decoder.start([row[:5] for row in tokens]) for decoder in decoders]
    for position in range(5, 32):
        with torch.no_grad():
            expected = model(torch.tensor([row[:position] for row in tokens])).numpy()
        assert np.allclose(both[0], expected, atol=1e-4)
        assert np.corrcoef(both[1].ravel(), expected.ravel())[0, 1] > 0.999
        both = [decoder.advance([row[position] for row in tokens]) for decoder in decoders]
    assert [decoder.length for decoder in decoders] == [32, 32]


def test_the_loss_through_the_decoder_is_that_of_the_model(exported: Path, trained_folder: Path) -> None:
    tokens = read_tokens(trained_folder / "tokens").val[:200]
    model = load_model(trained_folder / "best_model.pt").model
    windows = [tokens[start : start + 32] for start in range(0, 192, 33)]
    parts = [evaluate(model, window) for window in windows]
    expected = sum(part.nats for part in parts) / sum(part.tokens for part in parts)
    decoder = OnnxDecoder(exported / "onnx" / "model.onnx", threads=1)
    assert decoder_loss(decoder, tokens[:198]) == pytest.approx(expected, abs=1e-4)


def test_text_without_torch_in_the_process_is_that_with_torch(
    capsys: pytest.CaptureFixture[str], exported: Path, trained_folder: Path
) -> None:
    arguments = ["The dog", "--temp", "0", "-n", "60", "--json"]
    device = json.loads(generate(exported / "onnx", *arguments).stdout)
    capsys.readouterr()  # what the fixtures printed
    assert main(["generate", "--model", str(trained_folder / "best_model.pt"), *arguments]) == 0
    assert device["samples"] == json.loads(capsys.readouterr().out)["samples"]


def test_int8_takes_less_than_a_third_of_the_file(exported: Path) -> None:
    sizes = [(exported / name / "model.onnx").stat().st_size for name in FORMATS]
    assert sizes[1] < 0.33 * sizes[0]  # a small model: graph and scales weigh more here than with the defaults


def refusal(capsys: pytest.CaptureFixture[str], model: Path) -> str:
    """What `generate` in this process says of a model that it must refuse."""
    assert main(["generate", "a", "--model", str(model)]) == 5
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_an_export_for_another_program_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"weights")
    for model in (tmp_path, tmp_path / name):
        stderr = refusal(capsys, model)
        assert f"{tmp_path / name} is an export for" in stderr
        assert "minimal-llm export --format onnx" in stderr


def test_a_damaged_or_foreign_file_and_another_tokenizer_are_refused(
    capsys: pytest.CaptureFixture[str], exported: Path, tmp_path: Path
) -> None:
    folder = copy_folder(exported / "onnx", tmp_path)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert "is damaged or not a model exported by this project" in refusal(capsys, folder)
    (folder / "model.onnx").write_bytes(whole)
    (folder / "tokenizer.model").write_bytes(b"other")
    assert "was trained with tokenizer" in refusal(capsys, folder)
