"""Run the tests of faults and write what they counted into docs/RELIABILITY.md.

python scripts/reliability.py             # run all of them: about an hour
python scripts/reliability.py -k network  # run some; their rows replace those of the same faults
python scripts/reliability.py --table     # run none; write the table from docs/reference/campaign.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ROOT / "docs" / "reference" / "campaign.json"
DOCUMENT = ROOT / "docs" / "RELIABILITY.md"
HEADING = "| What was tried | Times | What happened |\n| --- | ---: | --- |"

Rows = list[dict[str, Any]]  # {"area", "fault", "outcome", "rounds"}


def main(arguments: Sequence[str]) -> int:
    if "--help" in arguments:
        print(__doc__)
        return 0
    code = 0
    if list(arguments) != ["--table"]:
        with tempfile.TemporaryDirectory() as folder:
            counts = Path(folder) / "counts.jsonl"
            counts.touch()
            command = [sys.executable, "-m", "pytest", "-n", "2", "-m", "", "tests/campaign", *arguments]
            code = subprocess.run(command, cwd=ROOT, env=os.environ | {"MINIMAL_LLM_CAMPAIGN": str(counts)}).returncode
            rows = replaced(read_rows(), map(json.loads, counts.read_text(encoding="utf-8").splitlines()))
        if code:
            print(
                "error: not all tests passed; each counts at its end, so the rows are of those that did",
                file=sys.stderr,
            )
        COUNTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), read_rows()), encoding="utf-8")
    return code


def read_rows() -> Rows:
    return json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else []


def replaced(rows: Rows, counted: Iterable[dict[str, Any]]) -> Rows:
    """Return rows in alphabetical order, with those counted in place of earlier ones of the same fault."""
    sums: dict[tuple[str, str, str], int] = {}
    for line in counted:
        key = (line["area"], line["fault"], line["outcome"])
        sums[key] = sums.get(key, 0) + line["rounds"]
    again = {key[:2] for key in sums}
    kept = [row for row in rows if (row["area"], row["fault"]) not in again]
    fresh = [{"area": a, "fault": f, "outcome": o, "rounds": n} for (a, f, o), n in sums.items()]
    return sorted(kept + fresh, key=lambda row: (row["area"], row["fault"], row["outcome"]))


def with_table(text: str, rows: Rows) -> str:
    """Return the document with its table made from these rows."""
    before, _, rest = text.partition(HEADING)
    _, _, after = rest.partition("\n\n")
    return f"{before}{table(rows)}\n\n{after}"


def table(rows: Rows) -> str:
    """Return one Markdown table: a heading row and a sum per area, then a row per outcome with its faults."""
    lines = [HEADING]
    for area, mine in groupby(rows, key=itemgetter("area")):
        outcomes = [(outcome, list(same)) for outcome, same in groupby(sorted(mine, key=_outcome), key=_outcome)]
        lines.append(f"| **{area}** | **{sum(_rounds(same) for _, same in outcomes):,}** | |")
        for outcome, same in sorted(outcomes, key=lambda pair: -_rounds(pair[1])):
            several = "; ".join(f"{row['fault']} ({row['rounds']:,})" for row in same)
            faults = several if len(same) > 1 else same[0]["fault"]
            lines.append(f"| {faults} | {_rounds(same):,} | {outcome} |")
    return "\n".join(lines)


def _outcome(row: dict[str, Any]) -> str:
    return str(row["outcome"])


def _rounds(rows: Rows) -> int:
    return sum(row["rounds"] for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
