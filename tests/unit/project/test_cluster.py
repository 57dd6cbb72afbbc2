"""The jobs for clusters, as far as they can be checked on one machine."""

from __future__ import annotations

import re
import subprocess

import yaml

from minimal_llm.common.config import load_config
from tests.support.stages import ROOT

JOBS = ROOT / "examples/cluster"


def stage_flags(text: str) -> set[str]:
    """Return the flags that a job gives to stage scripts."""
    calls = re.findall(r"stages/\w+\.py(.*)", text)
    return {flag for call in calls for flag in re.findall(r"--([a-z-]+)", call)}


def test_the_slurm_job_is_a_script_whose_options_come_first() -> None:
    job = JOBS / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(job)], check=False).returncode == 0
    lines = job.read_text(encoding="utf-8").splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert len(options) >= 5
    assert all(line.startswith("#") for line in lines[: options[-1]])  # Slurm ignores those after the first command


def test_the_skypilot_task_has_keys_of_one_and_a_script_in_each_step() -> None:
    task = yaml.safe_load((JOBS / "skypilot.yaml").read_text(encoding="utf-8"))
    assert set(task) <= {"name", "num_nodes", "resources", "workdir", "file_mounts", "setup", "run", "envs"}
    for step in ("setup", "run"):
        assert subprocess.run(["bash", "-n"], input=task[step], text=True, check=False).returncode == 0


def test_the_jobs_use_flags_that_the_stages_have() -> None:
    known = {"data-dir", *(name.replace("_", "-") for name in load_config(ROOT / "params.yaml").train.model_dump())}
    for job in JOBS.iterdir():
        assert stage_flags(job.read_text(encoding="utf-8")) <= known
