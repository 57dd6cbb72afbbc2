"""Stage parameters: params.yaml -> data/parameters_checked.txt, always the same words.

DVC deletes the outputs of a stage before it runs it. All others come after this one, so a value that cannot be used
fails here, and the results of before stay where they are.
"""

from __future__ import annotations

import sys

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import write_text
from minimal_llm.pipeline.preflight import check_initial_model


def main() -> int:
    """Check params.yaml; return the exit code."""
    try:
        config = load_config()
        for finding in check_initial_model(config, Artifacts()):
            if finding.remedy:
                raise ConfigurationError(f"train.init_from: {finding.detail}", remedy=finding.remedy)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write_text(Artifacts().parameters_checked, "All parameters are known and in their range.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
