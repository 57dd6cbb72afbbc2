"""The checksum of an exported model: ONNX Runtime would load a flipped bit of a weight without an error.

It is an entry of the metadata, `sha256`, of all bytes before it. The protobuf format allows an entry to be appended to
the file, so a device checks it without the onnx package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_ENTRY = b"\x72\x4a\x0a\x06sha256\x12\x40"  # ModelProto.metadata_props (field 14): a key, and 64 bytes of value
_SIZE = len(_ENTRY) + 64


def with_checksum(model: bytes) -> bytes:
    """Return a serialized ONNX model with the entry appended."""
    return model + _ENTRY + hashlib.sha256(model).hexdigest().encode()


def check(path: Path) -> None:
    """Raise ValueError if a file does not end with the checksum of all before, and OSError if it cannot be read."""
    content = path.read_bytes()
    if with_checksum(content[:-_SIZE]) != content:
        raise ValueError("its checksum is missing or does not match")
