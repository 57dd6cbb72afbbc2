"""Writes token files of any content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from minimal_llm.tokenizer.token_files import Ids, Split, TokenMeta, replacing_tokens


def write_tokens(folder: Path, meta: TokenMeta, ids: Mapping[Split, Ids]) -> None:
    """Write all splits and meta.json."""
    with replacing_tokens(folder) as writer:
        for split, own in ids.items():
            writer.append(split, own)
    writer.write_meta(folder, meta)
