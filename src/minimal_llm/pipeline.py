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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from minimal_llm.artifacts import STAGES, Artifacts
from minimal_llm.config import Config, flatten, load_config
from minimal_llm.corpus.text_files import digest
from minimal_llm.errors import ConfigurationError, MinimalLlmError
from minimal_llm.experiments import name_freed
from minimal_llm.files import read_json, readable_size
from minimal_llm.preflight import print_findings, require, run_checks
from minimal_llm.status import RUN_VARIABLE, StatusFile
from minimal_llm.training.runs import UnfinishedRun, discard, unfinished_runs

# Variables of `make train` and the parameters that they set
VARIABLES = {
    "EPOCHS": "train.epochs",
    "BATCH_SIZE": "train.batch_size",
    "LEARNING_RATE": "train.learning_rate",
    "MAX_SEQ_LENGTH": "train.max_seq_length",
    "VOCAB_SIZE": "tokenizer.vocab_size",
}
MARKS = {"completed": "green", "skipped": "cyan", "running": "yellow", "failed": "red", "interrupted": "red"}


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


def overrides_from(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that variables such as EPOCHS=5 set, by their dotted names.

    Raises:
        CorpusError: CORPUS names a file that cannot be used.
    """
    overrides: dict[str, Any] = {
        key: environment[variable] for variable, key in VARIABLES.items() if environment.get(variable)
    }
    if corpus := environment.get("CORPUS"):
        files = [corpus] if Path(corpus).exists() else shlex.split(corpus)
        overrides |= {"download.source": "files", "download.files": files, "download.files_digest": digest(files)}
    return overrides


def dvc_command(config: Config, overrides: Mapping[str, Any], experiment: str = "") -> list[str]:
    """Return `dvc repro`, or `dvc exp run` with the checked values of the overrides."""
    if not overrides and not experiment:
        return ["dvc", "repro"]
    name = ["-n", experiment] if experiment else []
    return ["dvc", "exp", "run", *name, *settings(config, overrides)]


def settings(config: Config, keys: Iterable[str]) -> list[str]:
    """Return the values of these parameters as words of `dvc exp run`: -S train.epochs=5."""
    flat = flatten(config)
    return [word for key in keys for word in ("-S", f"{key}={_hydra(flat[key])}")]


def show_status(artifacts: Artifacts) -> int:
    """Print what the last run did and what DVC would run now; return 0."""
    record = StatusFile(artifacts.status).read()
    console = Console()
    if record:
        console.print(_status_table(record))
        if error := record.get("error"):
            console.print(f"[red]{error['phase']} {error['kind']}[/]: ", end="")
            console.print(f"{error['message']}\n  What to do: {error['remedy']}", markup=False, highlight=False)
    else:
        console.print("no run yet: make train")
    console.print("\ndvc status", style="bold")
    subprocess.run(["dvc", "status"], check=False)
    return 0


def _status_table(record: Mapping[str, Any]) -> Table:
    table = Table(title=f"{record['state']} · {record['command']} · {record['started']}", title_justify="left")
    for heading in ("phase", "state", "seconds", "artifacts"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for phase in STAGES:
        entry = record["phases"][phase]
        state = entry["state"]
        if state == "running" and not psutil.pid_exists(entry["pid"]):
            state = "killed"
        sizes = ", ".join(f"{Path(p).name} {readable_size(n)}" for p, n in entry.get("artifacts", {}).items())
        seconds = f"{entry['seconds']:.1f}" if "seconds" in entry else ""
        table.add_row(phase, f"[{MARKS.get(state, 'white')}]{state}[/]", seconds, sizes)
    return table


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


def _hydra(value: Any) -> str:
    """Return a value as an override of `dvc exp run -S` spells it (Hydra's grammar: quotes protect all but quotes)."""
    if isinstance(value, list):
        return "[" + ",".join(_hydra(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
