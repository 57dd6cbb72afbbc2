"""Which files of the user's own a configuration names, and whether they are as stage `parameters` recorded them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.files import write_text
from minimal_llm.common.inputs import drop_dangling, link, record_of
from minimal_llm.corpus.text_files import expand


def own_files(config: Config) -> list[Path]:
    """Return the text files to train on, or none if the corpus comes from elsewhere. Raises CorpusError as `expand`."""
    return expand(config.download.files) if config.download.source == "files" else []


def record_inputs(config: Config, artifacts: Artifacts) -> None:
    """Link the files and write their records. Raises CorpusError or ConfigurationError if one cannot be used."""
    drop_dangling(artifacts.input_links)
    inputs = _inputs(config)
    records = _records(inputs, artifacts)
    link(artifacts.input_links, inputs)
    for path, text in records.items():
        write_text(path, text)


def forget_changed(config: Config, artifacts: Artifacts) -> None:
    """Delete records that do not hold any more, so that DVC makes new ones.

    It would overlook a file that newly matches a pattern, and an edit that keeps size and time.
    """
    for path, text in _records(_inputs(config), artifacts).items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            path.unlink()


def recorded_hashes(config: Config) -> dict[str, str]:
    """Return what dvc.lock says of the records if the files are as they are now: the MD5 of each, by its path."""
    return {
        path.as_posix(): hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        for path, text in _records(_inputs(config), Artifacts()).items()
    }


def _inputs(config: Config) -> dict[str, list[Path]]:
    named = config.train.init_from or config.train.extend_from
    return {"file": own_files(config), "model": [Path(named)] if named else []}


def _records(inputs: Mapping[str, Sequence[Path]], artifacts: Artifacts) -> dict[Path, str]:
    return {artifacts.files_record: record_of(inputs["file"]), artifacts.model_record: record_of(inputs["model"])}
