"""The encoded corpus on disk: train.bin, val.bin and test.bin (uint16 token ids, little-endian) and meta.json.

A split holds all English segments first, then all Spanish ones. Each segment is <s>, its paragraphs separated by
newline tokens, </s>.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import read_sealed, remove_leftovers, replacing, write_sealed
from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.tokenizer import REBUILD, Tokenizer

Split = Literal["train", "val", "test"]
Ids = npt.NDArray[np.uint16]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
DTYPE = np.dtype("<u2")  # holds ids below 65,536; config.py allows vocabularies of up to 32,000
_CHUNK = 1 << 22  # bytes that a check reads at a time


class Span(BaseModel):
    """The tokens of one language in a split: index of the first one, their number, and their text size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    language: Language
    first: int
    tokens: int
    bytes: int

    def of(self, ids: Ids) -> Ids:
        """Return the tokens of the language, given those of the split."""
        return ids[self.first : self.first + self.tokens]


class TokenMeta(BaseModel):
    """The content of meta.json. `source` is the corpus used, `source_fallback` whether it replaced the chosen one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    source_fallback: bool
    tokenizer_sha256: str
    vocab_size: int
    bos_id: int
    eos_id: int
    dtype: str
    train: tuple[Span, ...]
    val: tuple[Span, ...]
    test: tuple[Span, ...]

    def spans(self, split: Split) -> tuple[Span, ...]:
        """Return the language spans of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


@dataclass(frozen=True)
class TokenFiles:
    """An encoded corpus: the splits that were opened, as read-only arrays on disk, and the hashes of their files."""

    meta: TokenMeta
    ids: Mapping[Split, Ids]
    sha256: Mapping[Split, str]

    @property
    def train(self) -> Ids:
        """The tokens of the training split."""
        return self.ids["train"]

    @property
    def val(self) -> Ids:
        """The tokens of the validation split."""
        return self.ids["val"]


class TokenWriter:
    """Appends token ids to the files of an encoded corpus."""

    def __init__(self, streams: Mapping[Split, BinaryIO]) -> None:
        self._streams = streams
        self._digests = {split: hashlib.sha256() for split in streams}
        self.tokens = dict.fromkeys(streams, 0)

    def append(self, split: Split, ids: Ids) -> None:
        """Append token ids to a split."""
        content = ids.astype(DTYPE, copy=False).tobytes()
        self._streams[split].write(content)
        self._digests[split].update(content)
        self.tokens[split] += len(ids)

    def write_meta(self, folder: Path, meta: TokenMeta) -> None:
        """Write meta.json with the hashes of the files, once these are complete."""
        hashes = {_hash_key(split): digest.hexdigest() for split, digest in self._digests.items()}
        write_sealed(folder / "meta.json", {**meta.model_dump(mode="json"), **hashes})


@contextmanager
def replacing_tokens(folder: Path) -> Iterator[TokenWriter]:
    """Yield a writer whose files replace those in a folder once the block ends without an error.

    No other process may be writing them: what one that was killed has left is deleted.
    """
    for split in SPLITS:
        remove_leftovers(_path(folder, split))
    with ExitStack() as stack:
        yield TokenWriter({split: stack.enter_context(replacing(_path(folder, split))) for split in SPLITS})


def read_tokens(folder: Path, splits: Sequence[Split] = SPLITS) -> TokenFiles:
    """Return the encoded corpus in a folder. Of the splits, only those in `splits` are checked and opened.

    Their arrays are mapped to memory: the system reads what is used. `release` drops it again.

    Raises:
        TrainingError: a file is missing, unreadable or damaged, its length differs from meta.json, or it contains an id
            outside the vocabulary.
    """
    path = folder / "meta.json"
    try:
        record = read_sealed(path)
        hashes = {split: str(record.pop(_hash_key(split), "")) for split in SPLITS}
        meta = TokenMeta.model_validate(record)
        ids = {split: _mapped(_path(folder, split), hashes[split], split, meta) for split in splits}
    except OSError as error:
        raise _unusable(f"{error.filename} cannot be read: {error.strerror}") from error
    except ValueError as error:  # that of pydantic is one too
        raise _unusable(f"{path} is damaged or from another version: {error}") from error
    return TokenFiles(meta, ids, {split: hashes[split] for split in splits})


def release(ids: Ids) -> None:
    """Take what was read of a token file out of the memory of this process; the system may keep it for later."""
    owner: object = ids
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        owner.madvise(mmap.MADV_DONTNEED)


def decode_split(ids: Ids, tokenizer: Tokenizer) -> str:
    """Return the text of a split, with a newline between segments."""
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    return "\n".join(tokenizer.decode(segment.tolist()) for segment in np.split(ids, ends + 1) if len(segment))


def _mapped(path: Path, sha256: str, split: Split, meta: TokenMeta) -> Ids:
    size, expected = path.stat().st_size / DTYPE.itemsize, sum(span.tokens for span in meta.spans(split))
    if size != expected:
        raise _unusable(f"{path} contains {size:g} tokens, but its meta.json says {expected}")
    digest, largest = hashlib.sha256(), -1
    with path.open("rb") as stream:  # not through the map: what it has shown counts as memory of this process
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            largest = max(largest, int(np.frombuffer(chunk, DTYPE).max()))
    if largest >= meta.vocab_size:
        raise _unusable(f"{path} contains token id {largest}, but the vocabulary has only {meta.vocab_size} entries")
    if digest.hexdigest() != sha256:
        raise _unusable(f"{path} is damaged: its hash is not the one in its meta.json")
    if not expected:
        return np.empty(0, DTYPE)  # nothing can be mapped
    return np.asarray(np.memmap(path, DTYPE, mode="r"))


def _hash_key(split: Split) -> str:
    return f"{split}_sha256"


def _unusable(message: str) -> TrainingError:
    return TrainingError(message, remedy=REBUILD, kind="configuration")


def _path(folder: Path, split: Split) -> Path:
    return folder / f"{split}.bin"
