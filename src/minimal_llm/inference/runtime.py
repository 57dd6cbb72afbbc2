"""A model and its tokenizer, ready to generate with: torch for a .pt file, ONNX Runtime for an exported model."""

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
    """What generation needs, and what there is to say about it."""

    file: Path
    decoder: Decoder
    tokenizer: Tokenizer
    engine: str  # torch | onnx
    description: dict[str, Any]


def load_runtime(path: Path, threads: int) -> Runtime:
    """Return the model at a path: a .pt file of this project, an exported ONNX folder, or the .onnx file in it.

    Raises:
        ValidationError: there is none, it is damaged, or its tokenizer is missing or another one.
    """
    if path.is_dir() and any(path.glob("*.onnx")):
        path = next(iter(sorted(path.glob("*.onnx"))))
    foreign = next((file for file in (path, *sorted(path.glob("*"))) if file.suffix in OTHER_PROGRAMS), None)
    if foreign:
        raise ValidationError(
            f"{foreign} is an export for {OTHER_PROGRAMS[foreign.suffix]}, which is not run here",
            remedy="minimal-llm export --format onnx, then --model export/onnx; or name best_model.pt",
        )
    if not path.is_file():
        remedy = f"{TRAIN_ONE} (dvc checkout, if there was one before), or name one: --model PATH"
        raise ValidationError(f"there is no model at {path}", remedy=remedy)
    return _load_onnx(path, threads) if path.suffix == ".onnx" else _load_torch(path, threads)


def _load_torch(path: Path, threads: int) -> Runtime:
    import torch  # late: an exported model must not need it

    from minimal_llm.inference.torch_decoder import TorchDecoder
    from minimal_llm.model.model_file import load_model

    torch.set_num_threads(threads)
    loaded = load_model(path)
    tokenizer = find_tokenizer(path.parent, loaded.tokenizer_sha256, path)
    architecture = loaded.model.architecture
    description = {"model_version": loaded.version, **vars(architecture)}
    return Runtime(path, TorchDecoder(loaded.model), tokenizer, "torch", description)


def find_tokenizer(folder: Path, sha256: str, model: Path) -> Tokenizer:
    """Return the tokenizer in a folder that a model belongs to. Raises as `find_tokenizer_file`."""
    return Tokenizer.load(find_tokenizer_file(folder, sha256, model))


def find_tokenizer_file(folder: Path, sha256: str, model: Path) -> Path:
    """Return the path of the tokenizer in a folder that a model belongs to.

    Raises:
        ValidationError: there is none in the folder, or only others; both hashes are named.
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
        remedy="put the model beside the tokenizer that it was trained with, or train anew: " + TRAIN_ONE,
    )


def _load_onnx(path: Path, threads: int) -> Runtime:
    from minimal_llm.inference.onnx_decoder import OnnxDecoder

    decoder = OnnxDecoder(path, threads)
    facts = decoder.facts
    check_version(path, facts["model_version"], "minimal-llm export, with the program that the model was trained with")
    tokenizer = find_tokenizer(path.parent, facts["tokenizer_sha256"], path)
    description = {"model_version": facts["model_version"], **facts["architecture"]}
    return Runtime(path, decoder, tokenizer, "onnx", description)
