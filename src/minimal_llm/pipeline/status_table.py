"""What the last run did, as a table for the terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from minimal_llm.common.artifacts import STAGES, Artifacts
from minimal_llm.common.config import PARAMS
from minimal_llm.common.files import readable_size
from minimal_llm.common.inputs import drop_dangling
from minimal_llm.pipeline.commands import git
from minimal_llm.pipeline.preflight import check_dvc
from minimal_llm.pipeline.status import StatusFile, process_lives

# With HEAD, because DVC that was killed leaves its changes in the index
UNDO = f"git checkout HEAD -- {PARAMS} dvc.lock data && dvc checkout"
COLORS = {"completed": "green", "skipped": "cyan", "running": "yellow", "failed": "red", "interrupted": "red"}


def show_status() -> int:
    """Print what the last run did and what DVC would run now; return 0."""
    record = StatusFile(Artifacts().status).read()
    console = Console()
    if record:
        console.print(_status_table(record))
        if error := record.get("error"):
            console.print(f"[red]{error['phase']} {error['kind']}[/]: ", end="")
            console.print(f"{error['message']}\n  What to do: {error['remedy']}", markup=False, highlight=False)
    else:
        console.print("No run yet. To start one: make train")
    if git("diff", "HEAD", "--name-only", "--", str(PARAMS)):
        told = f"\n{PARAMS} differs from the last commit: git diff HEAD {PARAMS}\n  If an experiment left it so: {UNDO}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    console.print("\ndvc status", style="bold")
    for missing in drop_dangling(Artifacts().input_links):
        print(
            f"{missing}, which the last run read, is gone\n  What to do: put it back, or name another file", flush=True
        )
    if remedy := (dvc := check_dvc()).remedy:
        print(f"{dvc.detail}\n  What to do: {remedy}")
    else:
        subprocess.run(["dvc", "status"], check=False)
    return 0


def _status_table(record: Mapping[str, Any]) -> Table:
    table = Table(title=f"{record['state']} · {record['command']} · {record['started']}", title_justify="left")
    for heading in ("phase", "state", "seconds", "artifacts"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for phase in STAGES:
        entry = record["phases"][phase]
        state = entry["state"]
        if state == "running" and not process_lives(entry):
            state = "killed"
        sizes = ", ".join(f"{Path(p).name} {readable_size(n)}" for p, n in entry.get("artifacts", {}).items())
        seconds = f"{entry['seconds']:.1f}" if "seconds" in entry else ""
        table.add_row(phase, f"[{COLORS.get(state, 'white')}]{state}[/]", seconds, sizes)
    return table
