"""Stage validate: data/best_model.pt -> quality, latency and memory against their limits, and data/report.md.

    python stages/validate.py --strict true --output-dir runs/x

Each flag overrides the parameter of its name in params.yaml.
"""

from __future__ import annotations

import sys

import installed  # noqa: F401  # first: without the packages, it says so and exits
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Validate the model and write the report."""
    from minimal_llm.validation.validate import validate  # late: --help and a wrong flag get a quick answer

    validate(config, inputs, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("validate", ("seed", "validate"), __doc__, work))
