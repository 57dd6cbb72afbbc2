"""Stage download: books, files or the primer -> data/corpus_bilingual.txt, data/corpus_manifest.json.

    python stages/download.py --source primer --output-dir runs/x

Every flag overrides the value of its name in params.yaml.
"""

from __future__ import annotations

import sys

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, _inputs: Artifacts, outputs: Artifacts) -> None:
    """Build the corpus."""
    from minimal_llm.corpus.build import build_corpus  # late: --help and a wrong flag answer at once

    build_corpus(config.download, config.seed, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("download", ("seed", "download"), __doc__, work))
