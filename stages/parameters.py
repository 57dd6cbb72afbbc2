"""Stage parameters: checks params.yaml, and records the user's own files that it names, in data/inputs.

DVC deletes the outputs of a stage before it runs it. All other stages come after this one, so a parameter that cannot
be used fails here, and earlier results stay where they are.
"""

from __future__ import annotations

import sys

import installed  # noqa: F401  # first: without the packages, it says so and exits
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.pipeline.inputs import record_inputs
from minimal_llm.pipeline.preflight import check_initial_model
from minimal_llm.pipeline.stage import run_check


def work() -> None:
    """Check params.yaml and record the files."""
    config = load_config()
    for finding in check_initial_model(config, Artifacts()):
        if finding.remedy:
            raise ConfigurationError(f"train.{finding.check}: {finding.detail}", remedy=finding.remedy)
    record_inputs(config, Artifacts())


if __name__ == "__main__":
    sys.exit(run_check(work))
