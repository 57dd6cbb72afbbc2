from __future__ import annotations

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import TokenizerConfig
from minimal_llm.common.errors import ConfigurationError, ValidationError
from minimal_llm.common.files import read_sealed, write_json, write_sealed
from minimal_llm.export.export import CARD, FORMATS, export
from minimal_llm.export.gguf import scaled_scores
from minimal_llm.export.huggingface import halves_from_pairs
from minimal_llm.export.source import Source, load_source
from minimal_llm.export.vocabulary import Entry, vocabulary_entries
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer
from tests.support.stages import ROOT, copy_folder

QUALITY = {
    "val_loss": 4.25,
    "val_perplexity": 70.1,
    "val_bits_per_byte": 1.75,
    "en": {"loss": 4.125, "perplexity": 61.9, "bits_per_byte": 1.5},
    "es": {"loss": 4.5, "perplexity": 90.0, "bits_per_byte": 1.9},
    "gates": {"gap": {"value": 0.6, "bound": 0.5, "passed": False}, "repetition": {"passed": True}},
}


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def data(tokens_folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Artifacts:
    """A folder with a corpus, its tokenizer and, as its best model, one with random weights."""
    folder = Artifacts(copy_folder(tokens_folder, tmp_path / "data"))
    tokenizer = Tokenizer.load(folder.tokenizer_model)
    torch.manual_seed(0)
    model = TinyTransformer(Architecture(tokenizer.vocab_size, 2, 64, 2, 128, request.param, 24))
    save_model(folder.best_model, model, tokenizer.sha256, model.state_dict())
    return folder


def exported(data: Artifacts, name: str, output: Path) -> dict[str, bytes]:
    export(data.best_model, data.tokenizer_model, data.root, name, output)
    return {path.name: path.read_bytes() for path in output.iterdir()}


def card(data: Artifacts, output: Path, name: str = "safetensors") -> str:
    return exported(data, name, output)[CARD].decode()


def source_of(data: Artifacts) -> Source:
    return load_source(data.best_model, data.tokenizer_model)


EXPORT_ALL = """
import sys
from pathlib import Path
from minimal_llm.export.export import FORMATS, export

model, tokenizer, data, output = map(Path, sys.argv[1:])
for name in FORMATS:
    export(model, tokenizer, data, name, output / name)
"""


def test_the_same_model_gives_the_same_bytes_in_every_process(data: Artifacts, tmp_path: Path) -> None:
    paths = [data.best_model, data.tokenizer_model, data.root, tmp_path / "again"]
    subprocess.run([sys.executable, "-c", EXPORT_ALL, *map(str, paths)], check=True)
    for name in FORMATS:
        first = exported(data, name, tmp_path / name)
        assert len(first) == len(FORMATS[name].files) + 1
        assert all(any(fnmatch(file, pattern) for pattern in (*FORMATS[name].files, CARD)) for file in first)
        assert {path.name: path.read_bytes() for path in (tmp_path / "again" / name).iterdir()} == first


def test_safetensors_contains_the_weights_and_their_architecture(data: Artifacts, tmp_path: Path) -> None:
    content = exported(data, "safetensors", tmp_path / "out")
    loaded, source = load_file(tmp_path / "out" / "model.safetensors"), source_of(data)
    assert loaded.keys() == source.weights.keys()
    assert all(np.array_equal(loaded[name], weight) for name, weight in source.weights.items())
    assert content["tokenizer.model"] == source.tokenizer.model
    header = json.loads(
        content["model.safetensors"][8 : 8 + int.from_bytes(content["model.safetensors"][:8], "little")]
    )
    facts = json.loads(header["__metadata__"]["minimal_llm"])
    assert Architecture(**facts["architecture"]) == source.architecture
    assert facts["tokenizer_sha256"] == source.tokenizer.sha256


def test_hf_has_rotary_pairs_in_separate_halves(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "hf", tmp_path / "out")
    weights, source = load_file(tmp_path / "out" / "model.safetensors"), source_of(data)
    fused = source.weights["blocks.1.attention.qkv.weight"]
    q = weights["model.layers.1.self_attn.q_proj.weight"]  # 2 heads of 32
    assert np.array_equal(q[1], fused[2])
    assert np.array_equal(q[16 + 1], fused[3])
    assert np.array_equal(q[32 + 5], fused[32 + 10])
    assert np.array_equal(weights["model.layers.1.self_attn.v_proj.weight"], fused[128:])
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert halves_from_pairs(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_hf_describes_the_model(data: Artifacts, tmp_path: Path) -> None:
    content = exported(data, "hf", tmp_path / "out")
    config, tokenizer = (json.loads(content[name]) for name in ("config.json", "tokenizer.json"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]) == (64, 2, 128)
    tied = source_of(data).architecture.tie_embeddings
    assert config["tie_word_embeddings"] == tied
    assert ("lm_head.weight" in load_file(tmp_path / "out" / "model.safetensors")) != tied
    vocabulary = [text for text, _ in tokenizer["model"]["vocab"]]
    assert len(vocabulary) == config["vocab_size"] == 1000
    assert vocabulary[:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert any(text.startswith(" ") for text in vocabulary)
    assert not any("▁" in text for text in vocabulary)


def test_gguf_contains_the_weights_and_the_vocabulary(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "gguf", tmp_path / "out")
    reader, source = gguf.GGUFReader(tmp_path / "out" / "model.gguf"), source_of(data)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    fused = source.weights["blocks.0.feed_forward.gate_up.weight"]
    assert np.array_equal(tensors["blk.0.ffn_gate.weight"], fused[:128])
    assert np.array_equal(tensors["blk.0.ffn_up.weight"], fused[128:])
    assert np.array_equal(tensors["token_embd.weight"], source.weights["embedding.weight"])
    if not source.architecture.tie_embeddings:
        assert np.array_equal(tensors["output.weight"], source.weights["head.weight"])
    assert len(tensors) == 2 + (not source.architecture.tie_embeddings) + 2 * 9
    tokens = reader.fields["tokenizer.ggml.tokens"]
    assert tokens.contents() == [entry.text for entry in vocabulary_entries(source.tokenizer)]
    assert reader.fields["llama.context_length"].contents() == 24


def test_scaled_scores_keep_their_ratios_and_stay_above_an_unknown_character() -> None:
    entries = [Entry(" a", -1.5, "normal"), Entry("b", -20.25, "normal"), Entry("<0x00>", 0.0, "byte")]
    first, second, other = scaled_scores(entries)
    assert first / second == 1.5 / 20.25
    assert -1000 < second < -400
    assert other < -2000


def session_of(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def test_onnx_computes_the_same_as_torch_in_chunks_of_any_length(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "onnx", tmp_path / "out")
    session, model = session_of(tmp_path / "out"), load_model(data.best_model).model
    tokens = torch.randint(1000, (3, 24), generator=torch.Generator().manual_seed(1))
    cache = np.zeros((2, 2, 3, 2, 0, 32), np.float32)
    for start, stop in ((0, 1), (1, 9), (9, 10), (10, 24)):
        logits, cache = session.run(None, {"tokens": tokens[:, start:stop].numpy(), "past": cache})
        with torch.inference_mode():
            expected = model(tokens[:, :stop]).numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    assert cache.shape == (2, 2, 3, 2, 24, 32)


def test_onnx_rejects_more_tokens_than_the_context(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "onnx", tmp_path / "out")
    cache = np.zeros((2, 2, 1, 2, 20, 32), np.float32)
    with pytest.raises(Exception, match="Expand"):
        session_of(tmp_path / "out").run(None, {"tokens": np.ones((1, 5), np.int64), "past": cache})


def test_onnx_metadata_has_the_architecture_and_tokenizer(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "onnx", tmp_path / "out")
    session, source = session_of(tmp_path / "out"), source_of(data)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["minimal_llm"])
    assert Architecture(**facts["architecture"]) == source.architecture
    assert facts["tokenizer_sha256"] == source.tokenizer.sha256


@pytest.mark.parametrize("name", FORMATS)
def test_the_card_shows_what_the_files_of_the_run_contain(data: Artifacts, tmp_path: Path, name: str) -> None:
    write_json(data.train_metrics, {"epochs": 20, "best_epoch": 17})
    write_json(data.validation_metrics, QUALITY)
    text = card(data, tmp_path / "out", name)
    assert f"{source_of(data).parameters:,} parameters" in text
    assert "| all | 4.250 | 70.1 | 1.750 |\n| en | 4.125 | 61.9 | 1.500 |\n| es | 4.500 | 90.0 | 1.900 |" in text
    assert "The weights are from epoch 17 of 20." in text
    assert "Failed quality checks: gap." in text
    assert "**primer**" in text
    assert "synthetic text that minimal-llm generates" in text
    assert f"## Usage ({name})" in text


def test_the_card_lists_the_books_and_their_license(data: Artifacts, tmp_path: Path) -> None:
    manifest = read_sealed(data.corpus_manifest)
    book = manifest["documents"][0] | {"title": "A | B", "author": "Lewis Carroll", "bytes": 149048}
    write_sealed(data.corpus_manifest, manifest | {"source": "gutenberg", "documents": [book]})
    text = card(data, tmp_path / "out")
    assert "| A \\| B | Lewis Carroll | en | 149,048 |" in text
    assert "public domain in the United States" in text


def test_the_card_of_another_model_has_no_metrics_of_the_best_model(data: Artifacts, tmp_path: Path) -> None:
    write_json(data.validation_metrics, QUALITY)
    other = load_model(data.best_model)
    weights = {name: weight + 1 for name, weight in other.model.state_dict().items()}
    save_model(data.final_model, other.model, other.tokenizer_sha256, weights)
    export(data.final_model, data.tokenizer_model, data.root, "safetensors", tmp_path / "out")
    text = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    assert "4.250" not in text
    assert "There are no metrics for this model" in text


def test_the_card_can_do_without_the_files_of_the_run(data: Artifacts, tmp_path: Path) -> None:
    data.corpus_manifest.unlink()
    text = card(data, tmp_path / "out")
    assert "The corpus is unknown" in text
    assert "There are no metrics for this model" in text


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"val_loss": 1}'])
def test_damaged_metrics_are_an_error(data: Artifacts, tmp_path: Path, content: bytes) -> None:
    data.validation_metrics.write_bytes(content)
    with pytest.raises(ValidationError):
        card(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["gguf", "hf"])
def test_a_tokenizer_without_an_equivalent_in_the_format_is_an_error(
    data: Artifacts, tmp_path: Path, name: str
) -> None:
    paragraphs = data.corpus.read_text(encoding="utf-8").split("\n")
    settings = TokenizerConfig(name="t", vocab_size=1000, model_type="bpe", threads=1, sample_megabytes=16)
    data.tokenizer_model.write_bytes(train_tokenizer(paragraphs, settings).model)
    tokenizer, model = Tokenizer.load(data.tokenizer_model), load_model(data.best_model).model
    save_model(data.best_model, model, tokenizer.sha256, model.state_dict())
    with pytest.raises(ConfigurationError, match="type bpe"):
        exported(data, name, tmp_path / "out")
    assert exported(data, "onnx", tmp_path / "out")["tokenizer.model"] == tokenizer.model


def test_an_earlier_export_is_replaced_and_anything_else_is_left_unchanged(data: Artifacts, tmp_path: Path) -> None:
    exported(data, "hf", tmp_path / "out")
    assert set(exported(data, "onnx", tmp_path / "out")) == {*FORMATS["onnx"].files, CARD}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        exported(data, "hf", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="not a folder"):
        exported(data, "hf", data.best_model)
    assert (tmp_path / "out" / "model.onnx").exists()


def test_an_unknown_format_is_an_error(data: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'pickle'") as refused:
        exported(data, "pickle", tmp_path / "out")
    assert ", ".join(FORMATS) in refused.value.remedy


def test_a_missing_library_is_an_error_that_names_it(
    data: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "minimal_llm.export.onnx.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigurationError, match="package onnx") as refused:
        exported(data, "onnx", tmp_path / "out")
    assert "minimal-llm[export]" in refused.value.remedy


def test_a_tokenizer_of_another_model_is_an_error(data: Artifacts, tmp_path: Path) -> None:
    model: Any = load_model(data.best_model).model
    save_model(data.best_model, model, "0" * 64, model.state_dict())
    with pytest.raises(ValidationError, match="trained with tokenizer"):
        exported(data, "hf", tmp_path / "out")


def test_the_program_in_the_safetensors_card_runs(data: Artifacts, tmp_path: Path) -> None:
    program = card(data, tmp_path / "out").partition("```python\n")[2].partition("```")[0]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path / "out", env=environment)


def test_listing_the_formats_imports_no_heavy_package() -> None:
    code = "import sys, minimal_llm.export.export; assert not {'torch', 'onnx', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
