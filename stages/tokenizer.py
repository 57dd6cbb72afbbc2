"""Stage tokenizer: the corpus -> a SentencePiece model and the corpus as token ids.

    python stages/tokenizer.py --vocab-size 4000 --output-dir runs/x

Each flag overrides the parameter of its name in params.yaml.
"""

from __future__ import annotations

import sys

import installed  # noqa: F401  # first: without the packages, it says so and exits
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the tokenizer and encode the corpus."""
    from minimal_llm.tokenizer.build import build_tokens  # late: --help and a wrong flag get a quick answer

    build_tokens(config, inputs, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("tokenizer", ("split", "tokenizer"), __doc__, work))
