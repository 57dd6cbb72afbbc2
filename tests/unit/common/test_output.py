from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimal_llm.common.output import LastingStream

IN_ORDER = """
import sys
from minimal_llm.common.output import outlive_readers
outlive_readers()
for number in range(3):
    print("out", number)
    print("err", number, file=sys.stderr)
"""


def test_stdout_and_stderr_come_into_a_file_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", IN_ORDER], stdout=file, stderr=subprocess.STDOUT, check=True)
    assert log.read_text(encoding="utf-8") == "out 0\nerr 0\nout 1\nerr 1\nout 2\nerr 2\n"


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_a_stream_that_nobody_reads_any_more_takes_everything(kind: str) -> None:
    reader, writer = os.openpty() if kind == "terminal" else os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")
    lasting = LastingStream(stream)
    os.close(reader)
    for _ in range(3):
        print("nobody reads this", file=lasting, flush=True)
    stream.close()
    if kind == "pipe":
        with pytest.raises(ValueError, match="closed"):
            lasting.write("a fault of the program is raised all the same")
