"""The encoded corpus on disk: train.bin, val.bin and test.bin (uint16 token ids, little-endian) and meta.json.

A split holds all English segments first, then all Spanish ones. Each segment is <s>, its paragraphs separated by
newline tokens, </s>.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import read_sealed, sha256_of, write_bytes, write_sealed
from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.tokenizer import REBUILD, Tokenizer

Split = Literal["train", "val", "test"]
Ids = npt.NDArray[np.uint16]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
DTYPE = np.dtype("<u2")


class Span(BaseModel):
    """The tokens of one language in a split: index of the first one, their number, and their text size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    language: Language
    first: int
    tokens: int
    bytes: int


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
    """An encoded corpus: the splits that were read, and the hashes of their files."""

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


def write_tokens(folder: Path, meta: TokenMeta, ids: Mapping[Split, Ids]) -> None:
    """Write all splits, then meta.json with the hashes of their files."""
    contents = {split: ids[split].tobytes() for split in SPLITS}
    for split, content in contents.items():
        write_bytes(_path(folder, split), content)
    hashes = {_hash_key(split): sha256_of(content) for split, content in contents.items()}
    write_sealed(folder / "meta.json", {**meta.model_dump(mode="json"), **hashes})


def read_tokens(folder: Path, splits: Sequence[Split] = SPLITS) -> TokenFiles:
    """Return the encoded corpus in a folder. Of the splits, only those in `splits` are read.

    Raises:
        TrainingError: a file is missing, unreadable or damaged, its length differs from meta.json, or it contains an id
            outside the vocabulary.
    """
    path = folder / "meta.json"
    try:
        record = read_sealed(path)
        hashes = {split: str(record.pop(_hash_key(split), "")) for split in SPLITS}
        meta = TokenMeta.model_validate(record)
        contents = {split: _path(folder, split).read_bytes() for split in splits}
    except OSError as error:
        raise _unusable(f"{error.filename} cannot be read: {error.strerror}") from error
    except ValueError as error:  # that of pydantic is one too
        raise _unusable(f"{path} is damaged or from another version: {error}") from error
    ids = {split: _decoded(_path(folder, split), contents[split], hashes[split], split, meta) for split in splits}
    return TokenFiles(meta, ids, {split: hashes[split] for split in splits})


def decode_split(ids: Ids, tokenizer: Tokenizer) -> str:
    """Return the text of a split, with a newline between segments."""
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    return "\n".join(tokenizer.decode(segment.tolist()) for segment in np.split(ids, ends + 1) if len(segment))


def _decoded(path: Path, content: bytes, sha256: str, split: Split, meta: TokenMeta) -> Ids:
    size, expected = len(content) / DTYPE.itemsize, sum(span.tokens for span in meta.spans(split))
    if size != expected:
        raise _unusable(f"{path} contains {size:g} tokens, but its meta.json says {expected}")
    ids = np.frombuffer(bytearray(content), dtype=DTYPE)  # a bytearray, because torch wants memory that it may write to
    if len(ids) and int(ids.max()) >= meta.vocab_size:
        raise _unusable(f"{path} contains token id {ids.max()}, but the vocabulary has only {meta.vocab_size} entries")
    if sha256_of(content) != sha256:
        raise _unusable(f"{path} is damaged: its hash is not the one in its meta.json")
    return ids


def _hash_key(split: Split) -> str:
    return f"{split}_sha256"


def _unusable(message: str) -> TrainingError:
    return TrainingError(message, remedy=REBUILD, kind="configuration")


def _path(folder: Path, split: Split) -> Path:
    return folder / f"{split}.bin"
