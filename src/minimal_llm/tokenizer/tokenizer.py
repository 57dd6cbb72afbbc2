"""A SentencePiece tokenizer (Kudo and Richardson 2018): load, encode, and decode without loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from minimal_llm.common.errors import TokenizerError
from minimal_llm.common.files import sha256_of

SPACE_MARK = "▁"  # U+2581, which SentencePiece writes for a space inside a token
REBUILD = "dvc repro tokenizer"


class Tokenizer:
    """Converts text to token ids and back without loss: characters outside the vocabulary become UTF-8 byte tokens."""

    def __init__(self, model: bytes) -> None:
        """Load a serialized SentencePiece model.

        Raises:
            TokenizerError: the bytes are not a SentencePiece model.
        """
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            if not self._processor.vocab_size():  # it takes an empty file for a model
                raise RuntimeError("an empty model")
        except (RuntimeError, UnicodeDecodeError) as error:  # the latter from its own message, which quotes the bytes
            raise TokenizerError("these bytes are not a SentencePiece model", remedy=REBUILD) from error
        self.model = model
        self.sha256 = sha256_of(model)
        self.vocab_size: int = self._processor.vocab_size()
        self.bos_id: int = self._processor.bos_id()
        self.eos_id: int = self._processor.eos_id()
        byte_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        self.byte_values = {token: byte for byte, token in enumerate(byte_ids)}
        self.newline_id = byte_ids[ord("\n")]
        self._unknown = np.array([*byte_ids, self._processor.unk_id()])
        self._space_id = byte_ids[ord(" ")]
        self._mark_ids = [byte_ids[byte] for byte in SPACE_MARK.encode()]

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Return the tokenizer in a .model file.

        Raises:
            TokenizerError: the file cannot be read or is not a SentencePiece model.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise TokenizerError(f"{path} cannot be read: {error.strerror}", remedy=REBUILD) from error
        except TokenizerError as error:
            raise TokenizerError(f"{path} is not a SentencePiece model", remedy=REBUILD) from error

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without <s> and </s>."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, without <s> and </s>."""
        encoded = self._processor.encode(list(texts), num_threads=1)
        return [
            self._without_marks(ids) if SPACE_MARK not in text else self._encode_marks(text)
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; bytes that are not valid UTF-8 become U+FFFD.

        Raises:
            TokenizerError: an id is outside the vocabulary.
        """
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            worst = max(ids) if max(ids) >= self.vocab_size else min(ids)
            raise TokenizerError(f"token id {worst} is outside the vocabulary of {self.vocab_size}", remedy=REBUILD)
        text: str = self._processor.decode(list(ids))
        return text

    def unknown_tokens(self, ids: npt.NDArray[np.uint16]) -> int:
        """Return how many ids are <unk> or byte tokens (newlines do not count): text without a token."""
        return int((np.isin(ids, self._unknown) & (ids != self.newline_id)).sum())

    def vocabulary(self) -> str:
        """Return the content of the .vocab file: token and log probability, one entry per line, in order of ids."""
        entries = ((self._processor.id_to_piece(i), self._processor.get_score(i)) for i in range(self.vocab_size))
        return "".join(f"{token}\t{score:.6g}\n" for token, score in entries)

    def _encode_marks(self, text: str) -> list[int]:
        # A mark that is part of the text would be decoded as a space, so it is encoded as its UTF-8 bytes.
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE_MARK)):
            ids += self._mark_ids if number else []
            ids += self._without_marks(self._processor.encode(part))
        return ids

    def _without_marks(self, ids: list[int]) -> list[int]:
        # In a word model, an unknown word includes the preceding space, encoded as the bytes of the mark.
        if self._mark_ids[1] not in ids:
            return ids
        result: list[int] = []
        for token in ids:
            result.append(token)
            if result[-3:] == self._mark_ids:
                result[-3:] = [self._space_id]
        return result
