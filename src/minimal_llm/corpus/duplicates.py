"""Finds paragraphs that come again, as those of a book that is given twice."""

from __future__ import annotations

import hashlib
import sqlite3

from minimal_llm.common.errors import CorpusError

# Shorter ones repeat because they should: headings, "To Mrs. Saville, England.", «Á esto dijo Monipodio:». Of 19,702
# different paragraphs in 13 books, 113 repeat, and 8 of those have 100 characters: refrains of Grimm's.
SHORTEST = 100  # characters
CACHE_KB = 32_000


class Paragraphs:
    """The long paragraphs so far, as hashes in a database on disk: memory does not grow with their number."""

    def __init__(self) -> None:
        self.repeated = 0
        self._hashes = sqlite3.connect("", isolation_level=None)  # without a name: a temporary file
        self._hashes.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._hashes.execute("PRAGMA journal_mode = OFF")
        self._hashes.execute("CREATE TABLE seen (hash INTEGER PRIMARY KEY)")
        self._hashes.execute("BEGIN")

    def new(self, paragraphs: tuple[str, ...]) -> tuple[str, ...]:
        """Return the paragraphs without the long ones that came before, in this document or another.

        Raises:
            CorpusError: the disk for temporary files is full.
        """
        try:
            kept = tuple(one for one in paragraphs if len(one) < SHORTEST or self._is_new(one))
        except sqlite3.OperationalError as error:
            raise CorpusError(
                f"paragraphs cannot be compared: {error}",
                remedy="free some disk space, or set TMPDIR to a folder that has some, then the same command again",
                kind="disk_space",
            ) from error
        self.repeated += len(paragraphs) - len(kept)
        return kept

    def _is_new(self, paragraph: str) -> bool:
        # Of three million paragraphs, two have the same 64 bits by chance once in four million corpora.
        digest = hashlib.blake2b(paragraph.encode("utf-8"), digest_size=8).digest()
        key = int.from_bytes(digest, "big", signed=True)
        return self._hashes.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1
