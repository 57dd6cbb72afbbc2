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
from minimal_llm.common.ranks import is_member
from minimal_llm.pipeline.memory_estimate import require_memory
from minimal_llm.pipeline.processes import train_in_processes
from minimal_llm.pipeline.stage import run_stage


def work(config: Config, inputs: Artifacts, outputs: Artifacts) -> None:
    """Train the model."""
    if not is_member():
        require_memory(config, inputs.tokens)
        if inputs.in_pipeline and (named := config.train.init_from or config.train.extend_from):
            require_recorded(inputs.model_record, record_of([Path(named)]).splitlines())
        if config.train.processes > 1:
            train_in_processes(config.train.processes)
            return
    from minimal_llm.training.train import train  # late: --help and a wrong flag get a quick answer

    train(config, inputs, outputs)


if __name__ == "__main__":
    sys.exit(run_stage("train", ("seed", "model", "train"), __doc__, work))
