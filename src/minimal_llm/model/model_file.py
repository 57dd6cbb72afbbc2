"""The model file: weights, architecture, tokenizer hash and version. Equal runs write identical bytes."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from minimal_llm.common.errors import ValidationError
from minimal_llm.common.files import replacing
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.model.version import MODEL_VERSION, check_version

LARGEST = 2**20  # of any size in an architecture
RETRAIN = "make train (or dvc checkout, which restores the last good model)"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, and the hash of the tokenizer that it was trained with."""

    model: TinyTransformer
    tokenizer_sha256: str
    version: str


def save_model(path: Path, model: TinyTransformer, tokenizer_sha256: str, weights: dict[str, torch.Tensor]) -> None:
    """Write a model file; equal content gives equal bytes."""
    write_tensors(
        path,
        {
            "model_version": MODEL_VERSION,
            "architecture": asdict(model.architecture),
            "tokenizer_sha256": tokenizer_sha256,
            "weights": weights,
        },
    )


def load_model(path: Path, tokenizer_sha256: str | None = None) -> LoadedModel:
    """Load and check a model file; return the model in evaluation mode.

    Raises:
        ValidationError: the file is missing, corrupt, from another program or of another version, contains weights
            that are not finite, or belongs to a tokenizer other than the one with the given hash.
    """
    content = load_tensors(path)
    try:
        version, architecture = content["model_version"], Architecture(**content["architecture"])
        weights, tokenizer = content["weights"], str(content["tokenizer_sha256"])
    except (KeyError, TypeError) as error:
        raise ValidationError(f"{path} is not a model of this project: {error}", remedy=RETRAIN) from error
    check_version(path, str(version), RETRAIN)
    if tokenizer_sha256 is not None and tokenizer != tokenizer_sha256:
        raise ValidationError(
            f"{path} was trained with tokenizer {tokenizer[:12]}, but the current one is {tokenizer_sha256[:12]}",
            remedy=RETRAIN,
        )
    _check_sizes(path, architecture)
    try:
        model = TinyTransformer(architecture)
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValidationError(f"{path}: the weights do not fit the architecture: {error}", remedy=RETRAIN) from error
    bad = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise ValidationError(f"{path}: weights are not finite: {', '.join(bad)}", remedy=RETRAIN)
    return LoadedModel(model.eval(), tokenizer, version)


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write a file with torch.save, atomically and tensor by tensor: there is never a second copy of them in memory.

    To a stream, because torch.save writes the name of a file that it is given into its content.

    Raises:
        OSError: the disk is full or the folder is not writable. The old file is intact.
    """
    try:
        with replacing(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:
        hidden = error.__context__  # torch.save hides what went wrong behind an error of its own
        if isinstance(hidden, OSError):
            hidden.filename = str(path)
        if isinstance(hidden, MemoryError | OSError):
            raise hidden from None
        raise


def load_tensors(path: Path) -> dict[str, Any]:
    """Load a dictionary that torch.save wrote. No code in the file is executed.

    Raises:
        ValidationError: the file cannot be read, is damaged, or contains anything but tensors and plain values.
    """
    try:
        with path.open("rb") as stream:
            _check_sums(stream)
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror}", remedy=RETRAIN) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValidationError(f"{path} is damaged or not a model file: {reason}", remedy=RETRAIN) from error
    if not isinstance(content, dict):
        raise ValidationError(f"{path} contains a {type(content).__name__}, not a model", remedy=RETRAIN)
    return content


def _check_sums(stream: BinaryIO) -> None:
    # torch.load does not verify the checksums of the zip archive, so it would load a flipped bit without an error.
    archive = zipfile.ZipFile(stream)
    if sum(record.file_size for record in archive.infolist()) > stream.seek(0, io.SEEK_END):
        raise zipfile.BadZipFile("its records are larger than the file")  # torch.save compresses nothing
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")
    stream.seek(0)


def _check_sizes(path: Path, shape: Architecture) -> None:
    """Raise ValidationError for an architecture that the file cannot hold the weights of, before memory is taken."""
    sizes = asdict(shape)
    tied = sizes.pop("tie_embeddings")
    possible = all(type(size) is int and 0 < size <= LARGEST for size in sizes.values()) and type(tied) is bool
    if possible and shape.d_model % (2 * shape.heads) == 0:
        layer = 4 * shape.d_model**2 + 3 * shape.d_model * shape.feed_forward
        if 4 * ((1 if tied else 2) * shape.vocab_size * shape.d_model + shape.layers * layer) <= path.stat().st_size:
            return
    described = ", ".join(f"{name} {size!r}" for name, size in sizes.items())
    raise ValidationError(f"{path}: the weights do not fit the architecture: {described}", remedy=RETRAIN)
