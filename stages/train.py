"""Stage train: token ids -> data/best_model.pt, data/final_model.pt and the metrics of the run.

    python stages/train.py --epochs 1 --output-dir runs/x

Each flag overrides the parameter of its name in params.yaml. Ctrl+C saves; the same command resumes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import installed  # noqa: F401  # first: without the packages, it says so and exits
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config
from minimal_llm.common.inputs import record_of, require_recorded
from minimal_llm.pipeline.memory_estimate import require_memory
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the model."""
    require_memory(config, inputs.tokens)

    from minimal_llm.training.train import train  # late: --help and a wrong flag get a quick answer

    if inputs.in_pipeline and (initial := config.train.init_from):
        require_recorded(inputs.model_record, record_of([Path(initial)]).splitlines())
    train(config, inputs, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("train", ("seed", "model", "train"), __doc__, work))
