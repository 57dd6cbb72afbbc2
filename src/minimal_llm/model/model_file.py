"""The model file: weights, architecture, tokenizer hash, version; nothing that differs between two equal runs."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import write_bytes
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.model.version import MODEL_VERSION, check_version

RETRAIN = "dvc repro train (or dvc checkout, which brings the last good model back)"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference and the tokenizer that it belongs to."""

    model: TinyTransformer
    tokenizer_sha256: str
    version: str


def save_model(path: Path, model: TinyTransformer, tokenizer_sha256: str, weights: dict[str, torch.Tensor]) -> None:
    """Write the model file; equal content gives equal bytes."""
    write_bytes(
        path,
        to_bytes(
            {
                "model_version": MODEL_VERSION,
                "architecture": asdict(model.architecture),
                "tokenizer_sha256": tokenizer_sha256,
                "weights": weights,
            }
        ),
    )


def load_model(path: Path, tokenizer_sha256: str | None = None) -> LoadedModel:
    """Return the model in a file, in evaluation mode, after checking all of it.

    Raises:
        ValidationError: the file is missing, corrupt, foreign, of another version, holds a weight that is not a finite
            number, or belongs to another tokenizer than the one whose hash is given.
    """
    content = load_tensors(path)
    try:
        version, architecture = content["model_version"], Architecture(**content["architecture"])
        weights, tokenizer = content["weights"], content["tokenizer_sha256"]
    except (KeyError, TypeError) as error:
        raise ValidationError(f"{path} is not a model of this project: {error}", remedy=RETRAIN) from error
    check_version(path, str(version), RETRAIN)
    if tokenizer_sha256 is not None and tokenizer != tokenizer_sha256:
        raise ValidationError(
            f"{path} was trained with tokenizer {tokenizer[:12]}, the one here is {tokenizer_sha256[:12]}",
            remedy=RETRAIN,
        )
    model = TinyTransformer(architecture)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValidationError(f"{path}: the weights do not fit the architecture: {error}", remedy=RETRAIN) from error
    bad = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise ValidationError(f"{path}: not finite: {', '.join(bad)}", remedy=RETRAIN)
    return LoadedModel(model.eval(), tokenizer, version)


def to_bytes(content: dict[str, Any]) -> bytes:
    """Return what torch.save writes. Into memory first: it would put the name of a file into the bytes."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def load_tensors(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file that torch.save wrote. Nothing in the file is executed.

    Raises:
        ValidationError: it cannot be read, is damaged, or holds anything but tensors and plain values.
    """
    try:
        with path.open("rb") as stream:
            _check_sums(stream)
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror}", remedy=RETRAIN) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make its readers fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValidationError(f"{path} is damaged or foreign: {reason}", remedy=RETRAIN) from error
    if not isinstance(content, dict):
        raise ValidationError(f"{path} holds a {type(content).__name__}, not a model", remedy=RETRAIN)
    return content


def _check_sums(stream: BinaryIO) -> None:
    # torch.load takes a changed weight for what was written: it leaves out the checksums of the archive.
    damaged = zipfile.ZipFile(stream).testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")
    stream.seek(0)
