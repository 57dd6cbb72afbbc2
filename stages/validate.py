"""Stage validate: data/best_model.pt -> quality, latency and memory against their bounds, and data/report.md.

    python stages/validate.py --strict true --output-dir runs/x

Every flag overrides the value of its name in params.yaml.
"""

from __future__ import annotations

import sys

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Validate the model and write the report."""
    from minimal_llm.validation.validate import validate  # late: --help and a wrong flag answer at once

    validate(config, inputs, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("validate", ("seed", "validate"), __doc__, work))
