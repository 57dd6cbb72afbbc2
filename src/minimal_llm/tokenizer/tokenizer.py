"""SentencePiece (Kudo and Richardson 2018): train, load, encode, decode without loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import sentencepiece

from minimal_llm.common.errors import TokenizerError
from minimal_llm.common.files import sha256_of

if TYPE_CHECKING:  # only training needs it; a device that generates does without pydantic
    pass

SPACE_MARK = "▁"  # U+2581: how SentencePiece writes a space inside a piece
RETRAIN = "dvc repro tokenizer"


class Tokenizer:
    """Text to token ids and back. Any text comes back as it was; what has no piece is spelled in bytes."""

    def __init__(self, model: bytes) -> None:
        """Load a serialized SentencePiece model.

        Raises:
            TokenizerError: it is none.
        """
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise TokenizerError("these bytes are not a SentencePiece model", remedy=RETRAIN) from error
        self.model = model
        self.sha256 = sha256_of(model)
        self.vocab_size: int = self._processor.vocab_size()
        self.bos_id: int = self._processor.bos_id()
        self.eos_id: int = self._processor.eos_id()
        self._unknown_id: int = self._processor.unk_id()
        byte_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        self.byte_values = {token: byte for byte, token in enumerate(byte_ids)}
        self.newline_id = byte_ids[ord("\n")]
        self._space_id = byte_ids[ord(" ")]
        self._mark_ids = [byte_ids[byte] for byte in SPACE_MARK.encode()]

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Return the tokenizer in a .model file.

        Raises:
            TokenizerError: there is no such file, or it holds no tokenizer.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise TokenizerError(f"{path} cannot be read: {error.strerror}", remedy=RETRAIN) from error
        except TokenizerError as error:
            raise TokenizerError(f"{path} is not a SentencePiece model", remedy=RETRAIN) from error

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without <s> and </s>."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        encoded = self._processor.encode(list(texts))
        return [
            self._without_marks(ids) if SPACE_MARK not in text else self._encode_marks(text)
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some token ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenizerError: an id is outside the vocabulary.
        """
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            worst = max(ids) if max(ids) >= self.vocab_size else min(ids)
            raise TokenizerError(f"token id {worst} is outside the vocabulary of {self.vocab_size}", remedy=RETRAIN)
        text: str = self._processor.decode(list(ids))
        return text

    def unknown_rate(self, ids: Sequence[int]) -> float:
        """Return the share of tokens that stand for no piece of their own: bytes (line ends aside) and <unk>."""
        spelled = sum((i in self.byte_values and i != self.newline_id) or i == self._unknown_id for i in ids)
        return spelled / max(1, len(ids))

    def vocabulary(self) -> str:
        """Return the .vocab file: a line a piece, its text and its log probability, in the order of the ids."""
        pieces = ((self._processor.id_to_piece(i), self._processor.get_score(i)) for i in range(self.vocab_size))
        return "".join(f"{piece}\t{score:.6g}\n" for piece, score in pieces)

    def _encode_marks(self, text: str) -> list[int]:
        # A mark that stands in the text itself would come back as a space: spell it in bytes.
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE_MARK)):
            ids += self._mark_ids if number else []
            ids += self._without_marks(self._processor.encode(part))
        return ids

    def _without_marks(self, ids: list[int]) -> list[int]:
        # In a word model an unknown word takes its space along, spelled as the bytes of the mark.
        if self._mark_ids[1] not in ids:
            return ids
        result: list[int] = []
        for token in ids:
            result.append(token)
            if result[-3:] == self._mark_ids:
                result[-3:] = [self._space_id]
        return result
