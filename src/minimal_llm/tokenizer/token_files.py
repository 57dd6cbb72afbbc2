"""The encoded corpus on disk: train.bin and val.bin (uint16 token ids, little-endian) and meta.json about them.

A side holds all English first, then all Spanish. A segment is <s>, its paragraphs with a line end between them, </s>.
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
from minimal_llm.tokenizer.tokenizer import Tokenizer

Side = Literal["train", "val"]
Ids = npt.NDArray[np.uint16]
SIDES: tuple[Side, ...] = ("train", "val")
DTYPE = np.dtype("<u2")
REBUILD = "dvc repro tokenizer"


class Span(BaseModel):
    """The tokens of one language on one side, from `first` on, and the bytes of text that they stand for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    language: Language
    first: int
    tokens: int
    bytes: int


class TokenMeta(BaseModel):
    """What meta.json says of the two files. `source` names the corpus, `source_fallback` if nobody asked for it."""

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

    def spans(self, side: Side) -> tuple[Span, ...]:
        """Return the language spans of a side."""
        return self.train if side == "train" else self.val


@dataclass(frozen=True)
class TokenFiles:
    """Both sides of an encoded corpus, with the hashes of their files."""

    meta: TokenMeta
    train: Ids
    val: Ids
    train_sha256: str
    val_sha256: str

    def side(self, side: Side) -> Ids:
        """Return the token ids of a side."""
        return self.train if side == "train" else self.val


def decode_side(ids: Ids, tokenizer: Tokenizer) -> str:
    """Return the text of one side, a line end between its segments."""
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    return "\n".join(tokenizer.decode(segment.tolist()) for segment in np.split(ids, ends + 1) if len(segment))


def write_tokens(folder: Path, meta: TokenMeta, sides: dict[Side, Ids]) -> None:
    """Write both sides and meta.json, meta.json last."""
    for side in SIDES:
        write_bytes(_path(folder, side), sides[side].tobytes())
    write_json(folder / "meta.json", meta.model_dump(mode="json"))


def read_tokens(folder: Path) -> TokenFiles:
    """Return the encoded corpus in a folder.

    Raises:
        TrainingError: a file is missing or unreadable, does not have the length that meta.json gives, or holds an id
            outside the vocabulary.
    """
    try:
        meta = TokenMeta.model_validate_json((folder / "meta.json").read_bytes())
        sides = {side: np.fromfile(_path(folder, side), dtype=DTYPE) for side in SIDES}
    except OSError as error:
        raise TrainingError(
            f"{error.filename} cannot be read: {error.strerror}", remedy=REBUILD, kind="configuration"
        ) from error
    except PydanticError as error:
        raise TrainingError(
            f"{folder / 'meta.json'} is not valid: {error}", remedy=REBUILD, kind="configuration"
        ) from error
    for side, ids in sides.items():
        _check(_path(folder, side), ids, sum(span.tokens for span in meta.spans(side)), meta.vocab_size)
    return TokenFiles(
        meta=meta,
        train=sides["train"],
        val=sides["val"],
        train_sha256=sha256_of_file(_path(folder, "train")),
        val_sha256=sha256_of_file(_path(folder, "val")),
    )


def _check(path: Path, ids: Ids, expected: int, vocab_size: int) -> None:
    if len(ids) != expected:
        raise TrainingError(
            f"{path} holds {len(ids)} tokens, its meta.json says {expected}", remedy=REBUILD, kind="configuration"
        )
    if len(ids) and int(ids.max()) >= vocab_size:
        raise TrainingError(
            f"{path} holds token id {ids.max()}, the vocabulary has {vocab_size}", remedy=REBUILD, kind="configuration"
        )


def _path(folder: Path, side: Side) -> Path:
    return folder / f"{side}.bin"
