"""Atomic, durable file writes, and small helpers for JSON, hashes and sizes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

CHECKSUM = "checksum"  # the key of a sealed record


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content replaces that of `path` once the block ends without an error, atomically.

    After an error, a crash or power loss, `path` has either the old or the new content. A new file gets the permissions
    that the umask allows; one that is replaced keeps its own.

    Raises:
        OSError: the disk is full or the folder is not writable. The old file is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # write() on a full disk sets no file name
            error.filename = str(path)
        raise
    _sync_directory(path.parent)


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed in `replacing` have left. No other process may be writing `path`."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` atomically. Raises the same errors as `replacing`."""
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a text file as UTF-8, like `write_bytes`."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, like `write_bytes`. Equal content gives equal bytes; NaN and infinity raise ValueError."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object like `write_json`, with a checksum of it as its last key, for `read_sealed`."""
    write_json(path, {**record, CHECKSUM: _checksum(record)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Return an object that `write_sealed` wrote, without the checksum.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a JSON object, or not the one that was written: a flipped bit can leave valid JSON.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if record.pop(CHECKSUM, None) != _checksum(record):
        raise ValueError("its checksum does not match its content")
    return record


def _checksum(record: dict[str, Any]) -> str:
    return sha256_of(json.dumps(record, sort_keys=True).encode())


def read_record(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file that a crash may have cut off or never written: empty if it cannot be read."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits: the hash by which DVC knows it, not for security."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _sync_directory(folder: Path) -> None:
    # A rename is durable only after the folder is synced too. Windows cannot open a folder for this.
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def readable_size(size: int) -> str:
    """Return a human-readable size in decimal units: 9.5 MB, 12.3 KB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} KB"
