"""Run the code of documents and compare what it prints with what they show.

    python scripts/documents.py README.md docs/TRAINING_GUIDE.md [--write] [--folder DIR] [--quick DIR]

`python` and `sh` fences are run, in the order of the document. The Python blocks of a section (## heading) share one
process; a shell block is a `bash -euo pipefail` of its own. A fence `output` directly after such a block is what it
prints (sh: with stderr), compared line by line: words must be equal, numbers may differ by 5 % or 0.02, runs of spaces
count as one, `...` stands for any text in a line, and alone on a line for any lines. A block that fails is a fault, but
for an exception whose last line the output shows. Every other fence is text and has an info string that says of which
kind (text, yaml, ...).

The paragraph directly before a block says if it is not run: *Not run by the tests: the reason.* Directly below a
heading, *Not run by the tests, the blocks of this section: the reason.* holds for the whole section. For a block that
uses data/best_model.pt it says: *Run by the tests with the small model of `make quick`.*

The folder is a fresh clone of the working tree for each document, with the result of `make quick` in runs/quick where
a document uses that. Nothing is installed and no network is reached.
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
    """What a block printed; what went wrong, in one line, or nothing; and what helps to find the reason."""

    output: str
    error: str = ""
    details: str = ""


def failure(block: Block, outcome: Outcome) -> str:
    """Return why a block failed, or nothing: an error that the shown output ends with is wanted."""
    shown = tidy(block.output or "")
    if not outcome.error or (shown and shown[-1] != "..." and same_line(shown[-1], outcome.error)):
        return ""
    text = f"the {block.language} block failed: {outcome.error}"
    return text + indented("it printed:", outcome.output) + indented("stderr:", outcome.details)


def difference(block: Block, outcome: Outcome) -> str:
    """Return how the shown and the real output of a block differ, or nothing."""
    index = None if block.output is None else first_difference(block.output, outcome.output)
    if block.output is None or index is None:
        return ""
    shown = tidy(block.output)
    first = f"no line for: {shown[index]}" if index < len(shown) else "it prints more than is shown"
    text = f"the {block.language} block prints something else; {first}"
    return text + indented("expected:", block.output) + indented("real:", outcome.output)


def indented(title: str, text: str, most: int = 60) -> str:
    lines = text.strip("\n").split("\n") if text.strip() else []
    lines = lines if len(lines) <= most else [*lines[: most // 2], "[...]", *lines[-most // 2 :]]
    return "".join([f"\n  {title}", *(f"\n    {line}" for line in lines)]) if lines else ""


class PythonProcess:
    """A Python that executes one block after another; its names stay."""

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
        """Return what a block printed to stdout, with the last line of its traceback."""
        if self._process.poll() is not None or not self._process.stdin or not self._process.stdout:
            return Outcome("", "the Python process of this section has ended before")
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
    """Return what a shell block printed."""
    if uncommented(block.code) == ["make quick"] and (folder / QUICK / "report.md").exists():
        return Outcome(block.output or "")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out")
        with out.open("wb") as file:  # a pipe would wait for processes that the block leaves behind
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
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def uncommented(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]


def outcomes(blocks: list[Block], folder: Path, limit: float) -> Iterator[tuple[Block, Outcome]]:
    """Run the blocks that are not exempt in a folder and yield what each did."""
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
    """End the processes that have a variable in their environment: blocks may start some that outlive them."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                process.kill()
                process.wait(5)


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment with nothing of whoever runs this, in which programs print the same everywhere."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    person = {f"GIT_{role}_{key}": "reader" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return (
        kept
        | person
        | {
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "PYTHONPATH": str(folder / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHON": "true",  # make's set-up is this program, so nothing is installed
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GUTENBERG_MIRRORS": "http://127.0.0.1:9",  # the discard port: nothing listens there
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
            "TERM": "dumb",
        }
    )


def clone(folder: Path, quick: Path | None) -> Path:
    """Make a folder a repository with the working tree as its only commit; copy a finished runs/quick if given."""
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
    """Run `make quick` in a folder; return where its results are."""
    block = Block("sh", "make quick", 0, 0)
    outcome = run_shell(block, clone(folder, None), clean_environment(folder), 4 * LIMIT_SECONDS)
    if outcome.error:
        raise SystemExit(f"error: make quick failed: {outcome.error}{indented('', outcome.output)}")
    return folder / QUICK


def needs_quick(path: Path) -> bool:
    """Whether a block of a document uses the result of `make quick`."""
    blocks = Parser(path.read_text(encoding="utf-8")).blocks
    run = [block for block in blocks if not block.exempt]
    return any(block.stand_in or str(QUICK) in block.code or "make quick" in block.code for block in run)


def check(path: Path, folder: Path, limit: float, write: bool) -> list[Fault]:
    """Return the faults of a document; write the real outputs into it if asked to, which are faults no more."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=Path, metavar="FILE.md")
    parser.add_argument("--write", action="store_true", help="replace shown outputs that differ by the real ones")
    parser.add_argument("--folder", type=Path, help="run in this folder; default: a fresh clone for each document")
    parser.add_argument("--quick", type=Path, help="a finished runs/quick to copy into the clones")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds a block; default: %(default)s")
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
