"""The version of the model format, and the check whether this program can load a model. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from minimal_llm.common.errors import ValidationError

# MAJOR: the vocabulary changes. MINOR: the architecture changes. PATCH: new weights.
MODEL_VERSION = "1.1.0"


def check_version(path: Path, version: str, remedy: str) -> None:
    """Raise ValidationError, naming both versions, if this program cannot load a model of `version`."""
    if version.split(".")[:2] != MODEL_VERSION.split(".")[:2]:
        raise ValidationError(f"{path} has model version {version}, this program reads {MODEL_VERSION}", remedy=remedy)
