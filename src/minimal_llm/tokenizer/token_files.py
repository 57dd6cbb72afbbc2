"""The encoded corpus on disk: train.bin and val.bin (uint16 token ids, little-endian) and meta.json.

A split holds all English segments first, then all Spanish ones. Each segment is <s>, its paragraphs separated by
newline tokens, </s>.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticError

from minimal_llm.common.errors import TrainingError
from minimal_llm.common.files import sha256_of_file, write_bytes, write_json
from minimal_llm.corpus.languages import Language
from minimal_llm.tokenizer.tokenizer import REBUILD, Tokenizer

Split = Literal["train", "val"]
Ids = npt.NDArray[np.uint16]
SPLITS: tuple[Split, ...] = ("train", "val")
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

    def spans(self, split: Split) -> tuple[Span, ...]:
        """Return the language spans of a split."""
        return self.train if split == "train" else self.val


@dataclass(frozen=True)
class TokenFiles:
    """Both splits of an encoded corpus, with the hashes of their files."""

    meta: TokenMeta
    train: Ids
    val: Ids
    train_sha256: str
    val_sha256: str


def write_tokens(folder: Path, meta: TokenMeta, ids: dict[Split, Ids]) -> None:
    """Write both splits, then meta.json."""
    for split in SPLITS:
        write_bytes(_path(folder, split), ids[split].tobytes())
    write_json(folder / "meta.json", meta.model_dump(mode="json"))


def read_tokens(folder: Path) -> TokenFiles:
    """Return the encoded corpus in a folder.

    Raises:
        TrainingError: a file is missing or unreadable, its length differs from meta.json, or it contains an id outside
            the vocabulary.
    """
    try:
        meta = TokenMeta.model_validate_json((folder / "meta.json").read_bytes())
        ids = {split: np.fromfile(_path(folder, split), dtype=DTYPE) for split in SPLITS}
    except OSError as error:
        raise _unusable(f"{error.filename} cannot be read: {error.strerror}") from error
    except PydanticError as error:
        raise _unusable(f"{folder / 'meta.json'} is not valid: {error}") from error
    for split in SPLITS:
        _check(_path(folder, split), ids[split], sum(span.tokens for span in meta.spans(split)), meta.vocab_size)
    return TokenFiles(
        meta=meta,
        train=ids["train"],
        val=ids["val"],
        train_sha256=sha256_of_file(_path(folder, "train")),
        val_sha256=sha256_of_file(_path(folder, "val")),
    )


def decode_split(ids: Ids, tokenizer: Tokenizer) -> str:
    """Return the text of a split, with a newline between segments."""
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    return "\n".join(tokenizer.decode(segment.tolist()) for segment in np.split(ids, ends + 1) if len(segment))


def _check(path: Path, ids: Ids, expected: int, vocab_size: int) -> None:
    if len(ids) != expected:
        raise _unusable(f"{path} contains {len(ids)} tokens, but its meta.json says {expected}")
    if len(ids) and int(ids.max()) >= vocab_size:
        raise _unusable(f"{path} contains token id {ids.max()}, but the vocabulary has only {vocab_size} entries")


def _unusable(message: str) -> TrainingError:
    return TrainingError(message, remedy=REBUILD, kind="configuration")


def _path(folder: Path, split: Split) -> Path:
    return folder / f"{split}.bin"
