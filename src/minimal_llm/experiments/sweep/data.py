"""Corpus and tokens that several experiments of a sweep share: made once, before they start side by side."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Sequence

from minimal_llm.common.config import Config, flatten, load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.experiments.sweep.queue import dvc
from minimal_llm.pipeline.overrides import settings
from minimal_llm.pipeline.references import finished_experiments

SHAPES_DATA = ("seed", "download.", "split.", "tokenizer.")


def prepare_shared_data(configs: Sequence[Config], again: str) -> None:
    """Make what at least two of these configurations would make, each for itself; one alone makes its own.

    Raises:
        ConfigurationError: a stage failed; it has said why. `again` is the command that starts the sweep.
    """
    shared = {_data(config): config for config in configs}
    counts = Counter(map(_data, configs))
    for data, config in shared.items():
        if counts[data] > 1 and not (data == _data(load_config()) and _is_up_to_date("tokenizer")):
            _make(config, data, again)


def _data(config: Config) -> str:
    return json.dumps({key: value for key, value in flatten(config).items() if key.startswith(SHAPES_DATA)})


def _is_up_to_date(stage: str) -> bool:
    """Whether a stage and those before it need not run in the workspace."""
    return dvc("status", "--json", "--with-deps", stage).strip() == "{}"


def _make(config: Config, data: str, again: str) -> None:
    # In a copy of the repository, as the experiments will: what is made goes to the cache that all of them share.
    name = f"data-{hashlib.sha256(data.encode()).hexdigest()[:6]}"
    keys = [key for key in flatten(config) if key.startswith(SHAPES_DATA)]
    print("corpus and tokenizer, which several experiments share:", flush=True)
    if name in finished_experiments():  # left by a sweep that was killed
        dvc("exp", "remove", name)
    command = ["dvc", "exp", "run", "--temp", "-n", name, *settings(config, keys), "tokenizer"]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise ConfigurationError(
            "corpus and tokenizer of the sweep could not be made; the message is above",
            remedy=f"{again}, when that is put right",
        )
    dvc("exp", "remove", name)
