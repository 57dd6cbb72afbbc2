"""What `make train` does: check, ask about an unfinished run, let DVC work, say how it ended.

python -m minimal_llm.pipeline          # parameters from the environment: EPOCHS=5 CORPUS=/path/to/text.txt
python -m minimal_llm.pipeline status
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import psutil

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.common.files import read_json
from minimal_llm.common.unfinished_runs import UnfinishedRun, discard, unfinished_runs
from minimal_llm.pipeline.overrides import dvc_command, overrides_from
from minimal_llm.pipeline.preflight import print_findings, require, run_checks
from minimal_llm.pipeline.references import name_freed
from minimal_llm.pipeline.status import RUN_VARIABLE, StatusFile
from minimal_llm.pipeline.status_table import show_status


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    try:
        if arguments == ["status"]:
            return show_status(Artifacts())
        return train(os.environ)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def train(environment: Mapping[str, str]) -> int:
    """Run the pipeline with the parameters that the environment names; return 0 or the exit code of what failed.

    Raises:
        MinimalLlmError: a parameter or a prerequisite is wrong; nothing was started.
    """
    return run_pipeline(overrides_from(environment), environment)


def run_pipeline(overrides: Mapping[str, Any], environment: Mapping[str, str], experiment: str = "") -> int:
    """Run the pipeline with these parameters on top of params.yaml, as an experiment of that name if one is given.

    Raises:
        MinimalLlmError: a parameter or a prerequisite is wrong; nothing was started.
    """
    config = load_config(overrides=overrides)
    artifacts = Artifacts(tokenizer_name=config.tokenizer.name)
    findings = run_checks(config, artifacts)
    print_findings(findings)
    require(findings)
    _settle_unfinished_run(unfinished_runs(artifacts.checkpoints, config), environment.get("RESUME", ""))
    command = dvc_command(config, overrides, experiment)
    run = str(uuid.uuid4())
    status = StatusFile(artifacts.status)
    status.start_run(run, shlex.join(command))
    with name_freed(experiment):
        succeeded = _run(command, {**environment, RUN_VARIABLE: run})
    record = status.finish_run(succeeded)
    code = _conclude(record, succeeded, artifacts)
    if succeeded and experiment:
        print(f"experiment: {experiment} (make compare)")
    return code


def _settle_unfinished_run(runs: list[UnfinishedRun], answer: str) -> None:
    """Resume (the default) or start over: as RESUME says, as a person at a terminal says, else resume."""
    if answer.lower() not in ("", "yes", "no"):
        raise ConfigurationError(f"RESUME={answer} is not yes or no", remedy="make train RESUME=no")
    if not runs:
        return
    told = f"an unfinished run stands at {runs[0].epochs_done:.2f} of {runs[0].epochs} epochs"
    if not answer and sys.stdin.isatty():
        print(f"{told}. [R]esume or [s]tart over? ", end="", flush=True)
        answer = "no" if sys.stdin.readline().strip().lower().startswith("s") else "yes"
    if answer.lower() == "no":
        print(f"{told}: starting over")
        for run in runs:
            discard(run)
    else:
        print(f"{told}: going on from there")


def _run(command: list[str], environment: Mapping[str, str]) -> bool:
    """Run DVC and return whether it succeeded. Signals are for the stage: it saves, ends, and DVC ends with it."""
    print(f"$ {shlex.join(command)}", flush=True)
    process = subprocess.Popen(command, env=dict(environment))

    def pass_on(_number: int, _frame: object) -> None:
        # SIGTERM comes to this process alone. DVC would die of it and leave the stage running, so the stage gets it.
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the stage as well
    signal.signal(signal.SIGTERM, pass_on)
    return process.wait() == 0


def _conclude(record: Mapping[str, Any], succeeded: bool, artifacts: Artifacts) -> int:
    if not succeeded:
        error = record.get("error")
        if error is None:
            print("error: DVC failed; its message is above", file=sys.stderr)
            return 1
        print(
            f"\n{error['phase']} {record['state']}: {error['message']}\n  What to do: {error['remedy']}",
            file=sys.stderr,
        )
        return int(error["exit_code"])
    if all(entry["state"] == "skipped" for entry in record["phases"].values()):
        print("\nNothing to do: all stages are up to date.")
    metrics = read_json(artifacts.validation_metrics)
    fallback = " (no mirror could be reached)" if read_json(artifacts.corpus_manifest).get("fallback") else ""
    print(
        f"\ncorpus: {metrics['corpus']}{fallback} · validation loss {metrics['val_loss']:.3f} · "
        f"gates {'passed' if metrics['passed'] else 'MISSED'}\nreport: {artifacts.report}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
