"""`make compare`: all runs in one table, in the terminal and in runs/compare.md, with the chart runs/compare.png."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from minimal_llm.common.files import write_bytes, write_text
from minimal_llm.experiments.compare import Run, best_runs, collect_runs, differing, short_names
from minimal_llm.experiments.compare_chart import Curve, curves, draw_curves, shortened
from minimal_llm.experiments.compare_seeds import Group, group_by_seed, verdict
from minimal_llm.validation.report.markdown import escape, table

COLUMNS = ("val_loss", "bits/byte", "gap", "best epoch", "minutes", "peak MB")
PIPE_WIDTH = 160  # characters, where the output is not a terminal
STYLES = {"": "", "failed": "red", "not run": "yellow", "no metrics": "yellow"}  # of states; all others are dim
LEAST_WIDTH = 12  # characters of a column in a narrow terminal
SHAPES_TOKENS = ("seed", "download.", "split.", "tokenizer.")  # parameters


def compare() -> int:
    """Print the table and write both files; return the exit code. Raises as `collect_runs`."""
    runs = collect_runs()
    results = [run.metrics for run in runs if run.metrics]
    if len(runs) > 2 or (len(results) == 2 and results[0] != results[1]):  # not only the workspace as committed
        write_comparison(runs, Path("runs"))
    else:
        print("Nothing to compare yet. Run an experiment, then compare again:")
        print("  dvc exp run -S train.learning_rate=0.001\n  make compare")
    return 0


def write_comparison(runs: Sequence[Run], folder: Path) -> None:
    """Print the table, and write compare.md and compare.png into a folder."""
    heads, rows = _cells(runs)
    drawn = curves(runs)
    notes = _notes(runs, drawn)
    page, chart = folder / "compare.md", folder / "compare.png"
    if drawn:
        write_bytes(chart, draw_curves(drawn))
        image, written = f"\n![Validation loss against epochs and against time]({chart.name})\n", f"{page} · {chart}"
    else:
        chart.unlink(missing_ok=True)
        image, written = "", f"{page} (no chart: no run has a loss history yet)"
    alignment = "l" * (len(heads) - len(COLUMNS)) + "r" * len(COLUMNS)
    body = table(map(escape, heads), [map(escape, row) for row in rows], alignment)
    listed = "".join(f"- {escape(note)}\n" for note in notes)
    seed_heads, seed_rows = _seed_cells(group_by_seed(runs))
    by_seed = table(map(escape, seed_heads), [map(escape, row) for row in seed_rows], "l" * len(seed_heads))
    seeds = f"\n## Over several seeds\n\nMean ± standard deviation.\n\n{by_seed}" if seed_rows else ""
    write_text(page, f"# Comparison\n\n{body}\n{listed}{image}{seeds}")
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(_terminal_table(runs, heads, rows, console))
    for note in notes:
        console.print(Text(note))
    if seed_rows:
        console.print(Text("\nOver several seeds, mean ± standard deviation:"))
        console.print(_plain_table(seed_heads, seed_rows))
    console.print(Text(written))


def _seed_cells(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table of configurations with several seeds; no rows without any."""
    names = differing([group.parameters for group in groups])
    rows = []
    for group in groups:
        cells = [_shown(group.parameters.get(name, "")) for name in names]
        losses = [group.described(metric) for metric in ("val_loss", "val_bits_per_byte", "gap")]
        rows.append([*cells, str(len(group.runs)), *losses, verdict(group, groups[0])])
    return [*short_names(names).values(), "seeds", *COLUMNS[:3], "val_loss compared with the best"], rows


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else shortened(str(value))


def _cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table as plain text."""
    names, best = differing([run.parameters for run in runs]), best_runs(runs)
    rows = []
    for run in runs:
        cells = [_shown(run.parameters.get(name, "")) for name in names]
        rows.append(["*" if run in best else "", run.name, *cells, *_results(run)])
    return ["", "name", *short_names(names).values(), *COLUMNS], rows


def _results(run: Run) -> list[str]:
    """Return the cells below COLUMNS; a run without results has its state in the first one."""
    if run.state:
        return [run.state, *[""] * (len(COLUMNS) - 1)]
    losses = [f"{run.metrics[name]:.3f}" for name in ("val_loss", "val_bits_per_byte", "gap")]
    seconds, peak = run.speed.get("total_seconds"), run.speed.get("peak_memory_mb")
    cost = ["" if seconds is None else f"{seconds / 60:.2f}", "" if peak is None else f"{peak:.0f}"]
    return [*losses, str(run.metrics["best_epoch"]), *cost]


def _terminal_table(runs: Sequence[Run], heads: list[str], rows: list[list[str]], console: Console) -> Table:
    """Return the table with a column per parameter or, where that is too wide, with one column for all of them."""
    wide = _rich_table(runs, heads, rows)
    if console.measure(wide, options=console.options.update(max_width=10_000)).maximum <= console.width:
        return wide
    last = len(heads) - len(COLUMNS)
    folded = ["\n".join(map("=".join, zip(heads[2:last], row[2:last], strict=True))) for row in rows]
    narrow = [[*row[:2], cell, *row[last:]] for row, cell in zip(rows, folded, strict=True)]
    return _rich_table(runs, [*heads[:2], "parameters", *COLUMNS], narrow)


def _plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        grid.add_column(Text(head))
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _rich_table(runs: Sequence[Run], heads: list[str], rows: list[list[str]]) -> Table:
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        broken = Text(re.sub(r"(?<=[_/])| ", "\n", head))  # for narrow columns
        right = place >= len(heads) - len(COLUMNS)
        least = min(LEAST_WIDTH, max(map(len, "\n".join([broken.plain, *(row[place] for row in rows)]).split("\n"))))
        grid.add_column(broken, justify="right" if right else "left", no_wrap=right, min_width=least, overflow="fold")
    for run, row in zip(runs, rows, strict=True):
        style = "bold green" if row[0] else STYLES.get(run.state, "dim")
        grid.add_row(*(Text(cell, style) for cell in row))
    return grid


def _notes(runs: Sequence[Run], drawn: Sequence[Curve]) -> list[str]:
    best = best_runs(runs)
    notes = ["*: lowest validation loss"] if best else []
    notes += [f"{run.name} ({run.state}): {run.detail}" for run in runs if run.state]
    if untimed := [name for curve in drawn if not curve.minutes for name in curve.names]:
        notes.append(f"Drawn against epochs only, because their epochs were not timed: {', '.join(untimed)}")
    if len(best) > 1:
        keys = [key for key in differing([run.parameters for run in best]) if key.startswith(SHAPES_TOKENS)]
        notes.append(
            f"Losses on different tokens are not comparable (different {', '.join(keys) or 'corpora'}), so each set of "
            "tokens has its own best run. Compare bits/byte where only the tokenizer differs."
        )
    return notes
