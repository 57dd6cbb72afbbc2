"""The version of a model, and which ones this program reads. Knows nothing of torch."""

from __future__ import annotations

from pathlib import Path

from minimal_llm.common.errors import ValidationError

# MAJOR: the vocabulary changes. MINOR: the architecture changes. PATCH: new weights.
MODEL_VERSION = "1.0.0"


def check_version(path: Path, version: str, remedy: str) -> None:
    """Raise ValidationError, with both sides, if a model of this version is not one that this program reads."""
    if version.split(".")[:2] != MODEL_VERSION.split(".")[:2]:
        raise ValidationError(f"{path} is model version {version}, this program reads {MODEL_VERSION}", remedy=remedy)
