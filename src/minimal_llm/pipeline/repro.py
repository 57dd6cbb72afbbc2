"""What `minimal-llm train` does: check, settle an unfinished run, start DVC, report how it ended."""

from __future__ import annotations

import os
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.files import read_json
from minimal_llm.common.inputs import drop_dangling
from minimal_llm.common.unfinished_runs import UnfinishedRun, discard, finished_runs, lock_run, unfinished_runs
from minimal_llm.pipeline.busy import sole_run
from minimal_llm.pipeline.commands import run_stages
from minimal_llm.pipeline.damaged_outputs import drop_damaged
from minimal_llm.pipeline.inputs import forget_changed
from minimal_llm.pipeline.overrides import dvc_command
from minimal_llm.pipeline.preflight import require, run_checks
from minimal_llm.pipeline.references import free_name
from minimal_llm.pipeline.status import RUN_VARIABLE, StatusFile


def run_pipeline(overrides: Mapping[str, Any], resume: bool | None = None, experiment: str = "") -> int:
    """Run the pipeline, `overrides` ({"train.epochs": 5}) on top of params.yaml; return 0 or the failed stage's code.

    `resume` says what to do with an unfinished run of the same parameters: continue it, or start over (and what is kept
    of a finished one is deleted). With None, a terminal is asked, and without one the run is continued. `experiment`
    names the experiment that DVC records.

    Raises:
        MinimalLlmError: a parameter or a prerequisite is wrong, or another run is in progress; nothing was started.
    """
    config = load_config(overrides=overrides)
    artifacts = Artifacts(tokenizer_name=config.tokenizer.name)
    with sole_run(artifacts):
        drop_dangling(artifacts.input_links)
        require(run_checks(config, artifacts))
        drop_damaged()
        _settle_unfinished_run(unfinished_runs(artifacts.checkpoints, config), resume)
        if resume is False:
            discard(finished_runs(artifacts.checkpoints, config))
        forget_changed(config, artifacts)
        return _run(config, overrides, experiment, StatusFile(artifacts.status))


def _run(config: Config, overrides: Mapping[str, Any], experiment: str, status: StatusFile) -> int:
    """Run DVC and report how it ended; return 0 or the failed stage's code."""
    with free_name(experiment) as name:
        command = dvc_command(config, overrides, name)
        run = str(uuid.uuid4())
        status.start_run(run, shlex.join(command))
        succeeded = run_stages(command, {**os.environ, RUN_VARIABLE: run}) == 0
    record = status.finish_run(succeeded)
    if not succeeded:
        return _report_failure(record)
    _report_success(record, Artifacts())
    if experiment:
        print(f"experiment: {experiment} (make compare)")
    return 0


def _settle_unfinished_run(runs: Sequence[UnfinishedRun], resume: bool | None) -> None:
    if not runs:
        return
    for run in runs:
        with lock_run(run.folder):  # raises if a process is training it
            pass
    print(f"Found an unfinished run, {runs[0].epochs_done:.2f} of {runs[0].epochs:g} epochs done. ", end="", flush=True)
    if resume is None and sys.stdin.isatty():
        print("[R]esume or [s]tart over? ", end="", flush=True)
        resume = not sys.stdin.readline().strip().lower().startswith("s")
    print("Starting over." if resume is False else "Resuming it.")
    if resume is False:
        discard(run.folder for run in runs)


def _report_failure(record: Mapping[str, Any]) -> int:
    error = record.get("error")
    if error is None:
        remedy = "make check, which looks at the disk, git and DVC, then the same command again"
        print(f"error: DVC failed; see its message above\n  What to do: {remedy}", file=sys.stderr)
        return 1
    print(f"\n{error['phase']} {record['state']}: {error['message']}\n  What to do: {error['remedy']}", file=sys.stderr)
    return int(error["exit_code"])


def _report_success(record: Mapping[str, Any], artifacts: Artifacts) -> None:
    if all(entry["state"] == "skipped" for entry in record["phases"].values()):
        print("\nNothing to do: all stages are up to date.")
    metrics = read_json(artifacts.validation_metrics)
    fallback = " (no mirror could be reached)" if read_json(artifacts.corpus_manifest).get("fallback") else ""
    print(
        f"\ncorpus: {metrics['corpus']}{fallback} · validation loss {metrics['val_loss']:.3f} · "
        f"{'all checks passed' if metrics['passed'] else 'some checks FAILED'}\nFull report: {artifacts.report}"
    )
