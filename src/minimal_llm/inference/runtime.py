"""Load a model and its tokenizer for generation: a .pt file with torch, an exported model with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import sha256_of_file
from minimal_llm.inference.generation import Decoder
from minimal_llm.model.version import check_version
from minimal_llm.tokenizer.tokenizer import Tokenizer

TRAIN_ONE = "make train"
OTHER_PROGRAMS = {".gguf": "llama.cpp", ".safetensors": "transformers and others"}


@dataclass(frozen=True)
class Runtime:
    """Everything needed for generation, with a description of the model."""

    file: Path
    decoder: Decoder
    tokenizer: Tokenizer
    engine: str  # torch | onnx
    description: dict[str, Any]


def load_runtime(path: Path, threads: int) -> Runtime:
    """Load the model at a path: a .pt file of this project, an exported ONNX folder, or the .onnx file in it.

    Raises:
        ValidationError: there is no model, it is damaged, or its tokenizer is missing or does not match.
    """
    if path.is_dir() and any(path.glob("*.onnx")):
        path = next(iter(sorted(path.glob("*.onnx"))))
    foreign = next((file for file in (path, *sorted(path.glob("*"))) if file.suffix in OTHER_PROGRAMS), None)
    if foreign:
        raise ValidationError(
            f"{foreign} is an export for {OTHER_PROGRAMS[foreign.suffix]}; minimal-llm cannot run it",
            remedy="minimal-llm export --format onnx, then --model export/onnx; or use best_model.pt",
        )
    if not path.is_file():
        remedy = f"{TRAIN_ONE} (or dvc checkout, if there was one before), or name another one: --model PATH"
        raise ValidationError(f"there is no model at {path}", remedy=remedy)
    return _load_onnx(path, threads) if path.suffix == ".onnx" else _load_torch(path, threads)


def _load_torch(path: Path, threads: int) -> Runtime:
    import torch  # imported here, because exported models must run without it

    from minimal_llm.inference.torch_decoder import TorchDecoder
    from minimal_llm.model.model_file import load_model

    torch.set_num_threads(threads)
    loaded = load_model(path)
    tokenizer = find_tokenizer(path.parent, loaded.tokenizer_sha256, path)
    architecture = loaded.model.architecture
    description = {"model_version": loaded.version, **vars(architecture)}
    return Runtime(path, TorchDecoder(loaded.model), tokenizer, "torch", description)


def find_tokenizer(folder: Path, sha256: str, model: Path) -> Tokenizer:
    """Return the tokenizer of a model from a folder. Raises the same error as `find_tokenizer_file`."""
    return Tokenizer.load(find_tokenizer_file(folder, sha256, model))


def find_tokenizer_file(folder: Path, sha256: str, model: Path) -> Path:
    """Return the path of the .model file in a folder whose hash is `sha256`, the tokenizer of `model`.

    Raises:
        ValidationError: the folder does not contain it. The message names this hash and those of other tokenizers.
    """
    others = []
    for candidate in sorted(folder.glob("*.model")):
        found = sha256_of_file(candidate)
        if found == sha256:
            return candidate
        others.append(f"{candidate} is {found[:12]}")
    there = "; ".join(others) or f"there is no .model file in {folder}"
    raise ValidationError(
        f"{model} was trained with tokenizer {sha256[:12]}, but {there}",
        remedy="put the model next to the tokenizer that it was trained with, or train again: " + TRAIN_ONE,
    )


def _load_onnx(path: Path, threads: int) -> Runtime:
    from minimal_llm.inference.onnx_decoder import OnnxDecoder

    decoder = OnnxDecoder(path, threads)
    metadata = decoder.metadata
    version = metadata["model_version"]
    check_version(path, version, "minimal-llm export, with the version of the program that trained the model")
    tokenizer = find_tokenizer(path.parent, metadata["tokenizer_sha256"], path)
    description = {"model_version": version, **metadata["architecture"]}
    return Runtime(path, decoder, tokenizer, "onnx", description)
