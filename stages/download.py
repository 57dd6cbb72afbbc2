"""Stage download: books, files or the primer -> data/corpus_bilingual.txt, data/corpus_manifest.json.

    python stages/download.py --source primer --output-dir runs/x
    python stages/download.py --corpus-path /path/to/text.txt --output-dir runs/x

Each flag overrides the parameter of its name in params.yaml.
"""

from __future__ import annotations

import sys

import installed  # noqa: F401  # first: without the packages, it says so and exits
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.inputs import line, linked, require_recorded
from minimal_llm.pipeline.overrides import corpus_overrides
from minimal_llm.pipeline.stage import Shortcut, run_stage

CORPUS_PATH = Shortcut("--corpus-path", "text files or patterns of your own; sets source and files", corpus_overrides)


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Build the corpus."""
    from minimal_llm.corpus.build import build_corpus  # late: --help and a wrong flag get a quick answer

    if not (inputs.in_pipeline and config.download.source == "files"):
        build_corpus(config.download, config.seed, outputs)
        return
    files = tuple(map(str, linked(inputs.input_links, "file")))
    download = config.download.model_copy(update={"files": files})
    manifest = build_corpus(download, config.seed, outputs)
    require_recorded(inputs.files_record, (line(document.sha256, document.url) for document in manifest.documents))


if __name__ == "__main__":
    sys.exit(run_stage("download", ("seed", "download"), __doc__, work, [CORPUS_PATH]))
