"""Run the code blocks of documents and compare their output with what the documents show.

    python scripts/documents.py README.md docs/TRAINING_GUIDE.md [--write] [--folder DIR] [--quick DIR]

`python` and `sh` blocks are run in document order. The Python blocks of a section (## heading) share one process; each
shell block is run by its own `bash -euo pipefail`. An `output` block directly after a code block shows what that prints
(for sh, including stderr) and is compared line by line: words must be equal, numbers may differ by 5 % or 0.02, several
spaces count as one, `...` matches any text within a line, and on a line of its own any number of lines. A block must
not fail, except with an exception whose message is the last line of the output. Blocks of any other kind are not run;
their info string names the kind (text, yaml, ...). A `python PATH::NAME` block quotes code: see scripts/quotes.py.

To exempt a block, put this paragraph directly before it: *Not run by the tests: the reason.* To exempt a section, put
this directly below its heading: *Not run by the tests, the blocks of this section: the reason.* A block that uses
data/best_model.pt needs this paragraph: *Run by the tests with the small model of `make quick`.*

Each document runs in a fresh clone of the working tree, which contains the result of `make quick` in runs/quick if the
document uses it. Nothing is installed and the network is not used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python scripts/documents.py`
from scripts.document_format import Block, Fault, Parser, first_difference, same_line, tidy, with_outputs  # noqa: E402

SERVER = Path(__file__).with_name("python_blocks.py")
LIMIT_SECONDS = 300
QUICK = Path("runs") / "quick"
MODEL = Path("data") / "best_model.pt"
KEPT = ("PATH", "HOME", "USER", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Outcome:
    """The output of a block, its error in one line (empty if it succeeded), and details for finding the cause."""

    output: str
    error: str = ""
    details: str = ""


def failure(block: Block, outcome: Outcome) -> str:
    """Return why a block failed, or an empty text; an error that the shown output ends with is expected."""
    shown = tidy(block.output or "")
    if not outcome.error or (shown and shown[-1] != "..." and same_line(shown[-1], outcome.error)):
        return ""
    text = f"the {block.language} block failed: {outcome.error}"
    return text + indented("output:", outcome.output) + indented("stderr:", outcome.details)


def difference(block: Block, outcome: Outcome) -> str:
    """Return how the shown and the real output of a block differ, or an empty text."""
    index = None if block.output is None else first_difference(block.output, outcome.output)
    if block.output is None or index is None:
        return ""
    shown = tidy(block.output)
    first = f"not printed: {shown[index]}" if index < len(shown) else "it prints more than is shown"
    text = f"the output of the {block.language} block differs; {first}"
    return text + indented("expected:", block.output) + indented("real:", outcome.output)


def indented(title: str, text: str, max_lines: int = 60) -> str:
    lines = text.strip("\n").split("\n") if text.strip() else []
    lines = lines if len(lines) <= max_lines else [*lines[: max_lines // 2], "[...]", *lines[-max_lines // 2 :]]
    return "".join([f"\n  {title}", *(f"\n    {line}" for line in lines)]) if lines else ""


class PythonProcess:
    """A Python process that executes one block after another in the same namespace."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(SERVER)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, block: Block, limit: float) -> Outcome:
        """Execute a block; return what it printed to stdout, plus the last line of its traceback if it failed."""
        if self._process.poll() is not None or not self._process.stdin or not self._process.stdout:
            return Outcome("", "the Python process of this section has already ended")
        with tempfile.TemporaryDirectory() as scratch:
            out, err = Path(scratch, "out"), Path(scratch, "err")
            request = {"code": block.code, "line": block.line, "out": str(out), "err": str(err)}
            print(json.dumps(request), file=self._process.stdin, flush=True)
            if not select.select([self._process.stdout], [], [], limit)[0]:
                stop(self._process)
                return Outcome(read(out), f"it ran longer than {limit:g} s", read(err))
            answer = self._process.stdout.readline()
            if not answer:
                return Outcome(read(out), f"the Python process ended, exit code {self._process.wait()}", read(err))
            error = json.loads(answer)
            printed = read(out)
            between = "\n" if error and printed and not printed.endswith("\n") else ""
            return Outcome(printed + between + error, error, read(err))

    def close(self) -> None:
        stop(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


def run_shell(block: Block, folder: Path, environment: dict[str, str], limit: float) -> Outcome:
    """Run a shell block and return what it printed."""
    if uncommented(block.code) == ["make quick"] and (folder / QUICK / "report.md").exists():
        return Outcome(block.output or "")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out")
        with out.open("wb") as file:  # a pipe would wait for background processes of the block
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", block.code],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            stop(process)
        error = f"it ran longer than {limit:g} s" if code is None else f"exit code {code}" if code else ""
        return Outcome(read(out), error)


def stop(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kill a process and its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def uncommented(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]


def outcomes(blocks: list[Block], folder: Path, limit: float) -> Iterator[tuple[Block, Outcome]]:
    """Run the blocks that are not exempt in a folder and yield the outcome of each."""
    name, value = "DOCUMENT_PROCESSES", uuid.uuid4().hex
    environment = clean_environment(folder) | {name: value}
    python: PythonProcess | None = None
    section = -1
    try:
        for block in blocks:
            if block.exempt:
                continue
            if python and section != block.section:
                python.close()
                python = None
            section = block.section
            if block.stand_in:
                for path in (folder / QUICK / MODEL.name, *(folder / QUICK).glob("*.model")):
                    shutil.copy(path, folder / MODEL.parent)
            if block.language == "python":
                python = python or PythonProcess(folder, environment)
                yield block, python.run(block, limit)
            else:
                yield block, run_shell(block, folder, environment, limit)
    finally:
        if python:
            python.close()
        stop_marked(name, value)


def stop_marked(name: str, value: str) -> None:
    """Kill all processes with this environment variable: blocks may start some in another process group."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                process.kill()
                process.wait(5)


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment without settings of the user, in which programs print the same everywhere."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    person = {f"GIT_{role}_{key}": "reader" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return (
        kept
        | person
        | {
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "PYTHONPATH": str(folder / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHON": "true",  # the program that make runs to set up .venv, so nothing is installed
            "OMP_WAIT_POLICY": "PASSIVE",  # several documents are run at a time: threads that wait must not spin
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GUTENBERG_MIRRORS": "http://127.0.0.1:9",  # the discard port, on which nothing listens
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
            "TERM": "dumb",
        }
    )


def clone(folder: Path, quick: Path | None) -> Path:
    """Create a repository with the working tree as its only commit; copy the result of `make quick` if given."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    for arguments in (["init", "--quiet", "-b", "main"], ["add", "."], ["commit", "--quiet", "-m", "Clone"]):
        subprocess.run(["git", *arguments], cwd=folder, env=clean_environment(folder), check=True)
    if quick:
        shutil.copytree(quick, folder / QUICK, dirs_exist_ok=True)
    return folder


def make_quick(folder: Path) -> Path:
    """Run `make quick` in a new clone; return the folder with its results."""
    block = Block("sh", "make quick", 0, 0)
    outcome = run_shell(block, clone(folder, None), clean_environment(folder), 4 * LIMIT_SECONDS)
    if outcome.error:
        raise SystemExit(f"error: make quick failed: {outcome.error}{indented('', outcome.output)}")
    return folder / QUICK


def needs_quick(path: Path) -> bool:
    """Return whether a block of a document uses the result of `make quick`."""
    blocks = Parser(path.read_text(encoding="utf-8")).blocks
    run = [block for block in blocks if not block.exempt]
    return any(block.stand_in or str(QUICK) in block.code or "make quick" in block.code for block in run)


def check(path: Path, folder: Path, limit: float, write: bool) -> list[Fault]:
    """Return the faults of a document; with `write`, correct outputs that differ instead of returning them."""
    text = path.read_text(encoding="utf-8")
    parser = Parser(text)
    blocks, faults = parser.blocks, parser.faults
    outputs = []
    for block, outcome in outcomes(blocks, folder, limit):
        failed, different = failure(block, outcome), difference(block, outcome)
        if different and write and not failed:
            outputs.append((block, outcome.output))
        elif failed or different:
            faults.append(Fault(block.line, failed or different))
    if outputs:
        path.write_text(with_outputs(text, outputs), encoding="utf-8")
    return sorted(faults, key=lambda fault: fault.line)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=Path, metavar="FILE.md")
    parser.add_argument("--write", action="store_true", help="replace outputs that differ with the real ones")
    parser.add_argument("--folder", type=Path, help="run in this folder (default: a fresh clone for each document)")
    parser.add_argument(
        "--quick",
        type=Path,
        help="result of `make quick` to copy into the clones (default: run it if a document uses it)",
    )
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help="maximum seconds per block (default: %(default)s)"
    )
    options = parser.parse_args()
    for path in options.documents:
        if not path.is_file():
            parser.error(f"{path} is not a file")
    found = 0
    with tempfile.TemporaryDirectory() as scratch:
        quick = options.quick
        for number, path in enumerate(options.documents):
            folder = options.folder
            if not folder:
                if not quick and needs_quick(path):
                    quick = make_quick(Path(scratch, "quick"))
                folder = clone(Path(scratch, str(number), "minimal-llm"), quick)
            for fault in check(path, folder.resolve(), options.limit, options.write):
                print(f"{path}:{fault.line}: {fault.text}", flush=True)
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
