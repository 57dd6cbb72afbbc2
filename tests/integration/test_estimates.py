"""What the checks before a run promise is enough, against what runs take."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.common.files import size_of
from minimal_llm.common.unfinished_runs import KEPT_FINISHED
from minimal_llm.pipeline.disk_estimate import checkpoint_mb, disk_needed_mb
from minimal_llm.pipeline.memory_estimate import stages_memory_mb
from tests.support.clone import Clone
from tests.support.stages import ROOT, clean_environment

CONFIGURATIONS = {
    "small": {"model.layers": 1, "train.max_seq_length": 64},
    "many windows": {"train.batch_size": 128, "model.heads": 16},
}
CORPUS = {"download.source": "primer", "download.primer_megabytes": 0.3, "tokenizer.vocab_size": 4000}
ESTIMATES = {"download": "download", "tokenizer": "tokenizer", "train": "training", "validate": "validation"}


def test_a_run_takes_no_more_disk_than_the_check_before_it_asks_for(trained: Clone) -> None:
    config = load_config(trained.folder / "params.yaml")
    used = sum(size_of(trained.folder / name) for name in ("data", ".dvc/cache")) / 1e6
    # of runs before it, of this run until it is complete, and one that is being written
    spare = (KEPT_FINISHED + config.train.keep_checkpoints + 1) * checkpoint_mb(config)
    assert used <= disk_needed_mb(config) <= 1.4 * used + spare


def peak_mb(command: list[str]) -> float:
    """Run a stage; return the peak memory of its process in MB, as the kernel counts it."""
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
        peak = int(found[1]) if found else peak
        time.sleep(0.01)
    assert process.returncode == 0, command
    return peak * 1024 / 1e6


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux alone counts this peak")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_stage_takes_no_more_memory_than_the_check_before_it_asks_for(tmp_path: Path, name: str) -> None:
    changes = CORPUS | CONFIGURATIONS[name] | {"train.epochs": 1}
    estimates = stages_memory_mb(load_config(ROOT / "params.yaml", changes))
    sections = {"download": ("download",), "tokenizer": ("tokenizer",), "train": ("model", "train"), "validate": ()}
    for stage, of_stage in sections.items():
        given = {key.split(".")[1]: str(value) for key, value in changes.items() if key.startswith(of_stage or " ")}
        flags = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
        measured = peak_mb([sys.executable, f"stages/{stage}.py", "--data-dir", str(tmp_path), *flags])
        # validate measures models in a second process, whose memory is in the estimate and not in this peak
        assert measured <= estimates[ESTIMATES[stage]] <= (2 if stage == "validate" else 1.5) * measured, stage
