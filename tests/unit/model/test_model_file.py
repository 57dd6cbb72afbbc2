from __future__ import annotations

import io
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from minimal_llm.common.errors import ValidationError
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.model.version import MODEL_VERSION
from minimal_llm.training.trainer import copy_weights

SMALL = Architecture(
    vocab_size=50, layers=1, d_model=64, heads=2, feed_forward=128, tie_embeddings=True, max_seq_length=16
)
HASH = "a" * 64


def saved(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = TinyTransformer(SMALL)
    save_model(path, model, HASH, copy_weights(model))
    return path


def content_with(**changes: Any) -> bytes:
    model = TinyTransformer(SMALL)
    content = {
        "model_version": MODEL_VERSION,
        "architecture": asdict(SMALL),
        "tokenizer_sha256": HASH,
        "weights": copy_weights(model),
    }
    stream = io.BytesIO()
    torch.save(content | changes, stream)
    return stream.getvalue()


def refused(path: Path, content: bytes, tokenizer: str | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(ValidationError) as error:
        load_model(path, tokenizer)
    assert str(path) in error.value.message
    assert error.value.exit_code == 5
    return error.value.message


def test_a_loaded_model_has_the_weights_that_were_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(50, (1, 8))
    torch.manual_seed(0)
    expected = TinyTransformer(SMALL).eval()
    loaded = load_model(saved(tmp_path / "m.pt"), HASH)
    assert torch.equal(loaded.model(tokens), expected(tokens))
    assert loaded.version == MODEL_VERSION


def test_equal_models_give_identical_bytes_whatever_the_file_name(tmp_path: Path) -> None:
    assert saved(tmp_path / "a.pt").read_bytes() == saved(tmp_path / "b.pt").read_bytes()
    assert saved(tmp_path / "c.pt", seed=1).read_bytes() != saved(tmp_path / "a.pt").read_bytes()


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    assert "damaged or not a model file" in refused(tmp_path / "m.pt", content_with(weights=Malicious()))
    assert not (tmp_path / "owned").exists()


def test_running_out_of_memory_while_saving_is_a_memory_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: io.BufferedWriter, content: Any) -> int:
        raise MemoryError

    class Full(io.FileIO):
        write = exhausted

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode))
    with pytest.raises(MemoryError):
        saved(tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    whole = saved(tmp_path / "m.pt").read_bytes()
    refused(tmp_path / "m.pt", whole[: int(keep if keep >= 1 else keep * len(whole))])


@pytest.mark.parametrize("place", [0.01, 0.3, 0.5, 0.7])
def test_a_single_flipped_bit_is_detected(tmp_path: Path, place: float) -> None:
    whole = saved(tmp_path / "m.pt").read_bytes()
    at = int(place * len(whole))
    refused(tmp_path / "m.pt", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save([1, 2], stream)
    assert "contains a list" in refused(tmp_path / "m.pt", stream.getvalue())
    assert "not a model of this project" in refused(tmp_path / "m.pt", content_with(architecture={"layers": 1}))
    assert "do not fit" in refused(tmp_path / "m.pt", content_with(weights={"x": torch.ones(1)}))
    refused(tmp_path / "m.pt", b"hello")


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    weights = copy_weights(TinyTransformer(SMALL))
    weights["norm.weight"][3] = float("nan")
    assert "weights are not finite: norm.weight" in refused(tmp_path / "m.pt", content_with(weights=weights))


def test_another_version_or_tokenizer_is_refused_and_both_are_named(tmp_path: Path) -> None:
    message = refused(tmp_path / "m.pt", content_with(model_version="9.0.0"))
    assert "9.0.0" in message
    assert MODEL_VERSION in message
    message = refused(tmp_path / "m.pt", content_with(), tokenizer="b" * 64)
    assert "aaaaaaaaaaaa" in message
    assert "bbbbbbbbbbbb" in message


def test_a_missing_file_is_named_with_the_command_that_creates_it(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"none\.pt cannot be read") as error:
        load_model(tmp_path / "none.pt")
    assert "make train" in error.value.remedy
