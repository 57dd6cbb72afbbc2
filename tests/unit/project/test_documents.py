"""scripts/documents.py and scripts/figures.py report what is wrong in a document and accept what is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from scripts import figures
from scripts.documents import LIMIT_SECONDS, check

from tests.support.stages import ROOT, clean_environment


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False, timeout=120, cwd=ROOT
    )


def document(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return tool("documents", document(folder, text), "--folder", folder, *flags)


def block(language: str, code: str, output: str | None = None) -> str:
    shown = "" if output is None else f"\n```output\n{output}\n```\n"
    return f"```{language}\n{code}\n```\n{shown}"


WRONG = {
    "a wrong word": (block("python", "print('loss 4.38')", "gain 4.38"), 1, "not printed: gain 4.38"),
    "a number too far off": (block("python", "print('loss 4.38')", "loss 4.7"), 1, "loss 4.7"),
    "a number inside a word": (block("python", "print('v100')", "v101"), 1, "v101"),
    "a line that is not shown": (block("python", "print('a')\nprint('b')", "a"), 1, "prints more"),
    "a line that is not printed": (block("python", "print('a')", "a\nb"), 1, "not printed: b"),
    "lines in the wrong order": (block("python", "print('b\\na\\nc')", "...\na\n...\nb\n..."), 1, "not printed: b"),
    "Python that raises": (block("python", "x = 1\nx / 0"), 1, "line 3, in <module>"),
    "Python that raises after what is shown": (block("python", "print(1)\n1 / 0", "1"), 1, "ZeroDivisionError"),
    "an exception that ... does not match": (block("python", "1 / 0", "..."), 1, "ZeroDivisionError"),
    "Python that ends its process": (block("python", "import os; os._exit(3)"), 1, "exit code 3"),
    "Python that exits": (block("python", "raise SystemExit(0)"), 1, "SystemExit"),
    "a command that fails": (block("sh", "false\necho after"), 1, "exit code 1"),
    "a command that fails in a pipe": (block("sh", "false | cat"), 1, "exit code 1"),
    "a variable that is not set": (block("sh", "echo $nothing_like_it"), 1, "nothing_like_it"),
    "a wrong word of stderr": (block("sh", "echo oh >&2", "ah"), 1, "not printed: ah"),
    "a name of another section": (
        f"## A\n\n{block('python', 'x = 1')}\n## B\n\n{block('python', 'print(x)')}",
        9,
        "NameError",
    ),
    "an exemption without a reason": (f"*Not run by the tests: *\n\n{block('sh', 'false')}", 1, "without a reason"),
    "an exemption without a colon": (f"*Not run by the tests.*\n\n{block('sh', 'false')}", 1, "without a reason"),
    "an exemption without a block": (
        "*Not run by the tests: too long.*\n\nText.\n\n```sh\ntrue\n```\n",
        1,
        "not directly followed by a python or sh block",
    ),
    "an exemption of a section in its middle": (
        f"## A\n\nText.\n\n*Not run by the tests, the blocks of this section: long.*\n\n{block('sh', 'true')}",
        5,
        "directly below its heading",
    ),
    "a section after an exempt one": (
        f"## A\n\n*Not run by the tests, the blocks of this section: long.*\n\n## B\n\n{block('sh', 'false')}",
        7,
        "exit code 1",
    ),
    "indented code": ("Text.\n\n    print(1)\n", 3, "indented code block"),
    "indented code in a list": ("- Text.\n\n      print(1)\n", 3, "indented code block"),
    "a block of a shell that is not run": (block("bash", "true"), 1, "a 'bash' block is not run"),
    "a block with options": (block("python {.numbered}", "1 / 0"), 1, "after python or sh nothing may follow"),
    "a block without a language": (block("", "true"), 1, "a '' block is not run"),
    "an output without a code block": (
        f"```text\nx\n```\n\n{block('output', '1')}",
        5,
        "not directly preceded by a python or sh block",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_reported_with_its_line(name: str, tmp_path: Path) -> None:
    text, line, reason = WRONG[name]
    faults = check(document(tmp_path, text), tmp_path, LIMIT_SECONDS, write=False)
    assert faults[0].line == line
    assert reason in faults[0].text


RIGHT = {
    "numbers within the tolerance": block(
        "python", "print('loss 4.38, 26,640 tokens/s, -1e-3')", "loss 4.4, 27,000 tokens/s, 0.01"
    ),
    "several spaces": block("python", "print('a   b  [ 0.5, -1]')", "  a b [0.5,  -1.0]"),
    "any text in a line": block("python", "print('epoch 3 took 29 s')", "epoch 3 ... s"),
    "any lines": block("python", "print('a\\nb\\nc\\nd')", "a\n...\nd\n..."),
    "an exception that is shown": block("python", "print(1)\n{}['k']", "1\nKeyError: 'k'"),
    "names of a section": f"## A\n\n{block('python', 'x = 1')}\n### B\n\n{block('python', 'print(x)', '1')}",
    "output of child processes": block("python", "import os\nprint(1)\nos.system('echo 2')\nprint(3)", "1\n2\n3"),
    "only stdout of Python": block("python", "import sys\nprint(1)\nprint(2, file=sys.stderr)", "1"),
    "stderr of a shell": block("sh", "echo 1; echo 2 >&2", "1\n2"),
    "an empty stdin": block("sh", "cat", ""),
    "the last state of a progress bar": block("sh", r"printf '10%%\r100%%\n'", "100%"),
    "a separate shell for each block": block("sh", "cd /; x=1")
    + "\n"
    + block("sh", 'test "${x-}" = ""; cat page.md | wc -l', "..."),
    "an exempt block": f"Text. *Not run by the tests: it takes hours.*\n\n{block('sh', 'false', 'nothing')}",
    "an exempt section": f"## A\n\n*Not run by the tests, the blocks of this section: long.*\n\n{block('sh', 'false')}"
    f"\n### B\n\nText.\n\n{block('python', '1 / 0')}",
    "quoted code": block("python src/minimal_llm/model/loss.py::summed_cross_entropy", "1 / 0"),
    "text": block("text", "  a\n    b") + "\n" + block("yaml", "a: 1"),
    "a block in a list": "1. Do:\n\n   ```python\n   if True:\n       print(1)\n   ```\n\n   ```output\n   1\n   ```\n",
    "make quick with an existing result": block("sh", "mkdir -p runs/quick; touch runs/quick/report.md")
    + "\n"
    + block("sh", "make quick"),
    "the model of make quick": block("sh", "mkdir -p runs/quick data; echo 5 > runs/quick/best_model.pt")
    + f"\n*Run by the tests with the small model of `make quick`.*\n\n{block('sh', 'cat data/best_model.pt', '5')}",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_document_is_accepted(name: str, tmp_path: Path) -> None:
    assert check(document(tmp_path, RIGHT[name]), tmp_path, LIMIT_SECONDS, write=False) == []


@pytest.mark.parametrize(("language", "code"), [("python", "import time; time.sleep(60)"), ("sh", "sleep 60 & wait")])
def test_a_block_that_takes_too_long_fails_and_is_killed(language: str, code: str, tmp_path: Path) -> None:
    (fault,) = check(document(tmp_path, block(language, code)), tmp_path, limit=1, write=False)
    assert "ran longer than 1 s" in fault.text


def test_background_processes_of_a_block_end_with_the_document(tmp_path: Path) -> None:
    alive = block("sh", "setsid sleep 300 & echo $! > number; sleep 0.2") + "\n" + block("sh", "kill -0 $(cat number)")
    assert check(document(tmp_path, alive), tmp_path, LIMIT_SECONDS, write=False) == []
    number = int((tmp_path / "number").read_text(encoding="utf-8"))
    processes = {process.pid: process for process in psutil.process_iter()}
    assert number not in processes or processes[number].status() == psutil.STATUS_ZOMBIE  # init may be slow to reap it


def test_write_corrects_only_outputs_that_differ(tmp_path: Path) -> None:
    right = block("python", "print('loss 4.38')", "loss  ...")
    listed = "- In a list:\n\n  ```python\n  print('a')\n  print(' b')\n  ```\n\n  ```output\n  {}\n  ```\n"
    broken = block("python", "print(1)\n1 / 0", "2")
    done = run(tmp_path, f"{right}\n{listed.format('x')}\n## End\n\n{broken}", "--write")
    assert (tmp_path / "page.md").read_text(
        encoding="utf-8"
    ) == f"{right}\n{listed.format('a' + chr(10) + '   b')}\n## End\n\n{broken}"
    assert done.returncode == 1  # --write does not accept an exception
    assert done.stdout.count("page.md:") == 1
    assert run(tmp_path, f"{right}\n{listed.format('a' + chr(10) + '   b')}").returncode == 0


def test_a_missing_document_is_an_error(tmp_path: Path) -> None:
    done = tool("documents", tmp_path / "none.md")
    assert done.returncode == 2
    assert "none.md is not a file" in done.stderr


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A repository with a few results."""
    files = {
        "data/metrics/train.json": {"val_loss": 4.37897, "corpus": "gutenberg"},
        "docs/reference/recipe_study.json": {"a / seed 1": {"val": [5.0, 4.5]}},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "data" / "plots").mkdir()
    (tmp_path / "data" / "plots" / "history.csv").write_text("epoch,val_loss\n1,5.25\n2,4.75\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


FIGURES = {
    "train.val_loss .3f": "4.379",
    "train.corpus s": "gutenberg",
    "recipe['a / seed 1'].val[1] .1f": "4.5",
    "history[2].val_loss - history[1].val_loss +.2f": "-0.50",
    "params.train.batch_size * params.train.max_seq_length ,d": "4,096",
    "-(train.val_loss - 4) / 2 .1%": "-18.9%",
}


def test_correct_numbers_are_accepted(results: Path) -> None:
    table = "".join(f"| (**{shown}<!-- {comment} -->**) |\n" for comment, shown in FIGURES.items())
    document(results, f"{table}\n```text\n1<!-- train.val_loss .3f -->\n```\n")
    done = tool("figures", "--root", results)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_outdated_number_is_reported_and_corrected(results: Path) -> None:
    text = "A loss\nof ({}<!-- train.val_loss\n.3f -->), after 5.25<!-- history[1].val_loss .2f --> nats.\n"
    page = document(results, text.format("4.4"))
    done = tool("figures", "--root", results)
    assert done.returncode == 1
    assert done.stdout == "page.md:2: shown '4.4', computed '4.379'\n"
    assert tool("figures", "--root", results, "--write").returncode == 0
    assert page.read_text(encoding="utf-8") == text.format("4.379")


@pytest.mark.parametrize(
    ("figure", "reason"),
    [
        ("1<!-- trian.val_loss .3f -->", "unknown name 'trian'"),
        ("1<!-- train.val_los .3f -->", "train has no 'val_los'"),
        ("1<!-- sweep['x'].val_loss .3f -->", "docs/reference/sweep.json does not exist"),
        ("1<!-- open('params.yaml') s -->", "not allowed in an expression"),
        ("1<!-- train.val_loss.__class__ s -->", "has no '__class__'"),
        ("1<!-- train.corpus .3f -->", "format"),
        ("1<!-- train.val_loss -->", "a format"),
        ("1<!-- train. .3f -->", "invalid syntax"),
        ("1 <!-- train.val_loss .3f -->", "no number directly before"),
    ],
)
def test_a_number_that_cannot_be_computed_is_an_error_even_when_writing(
    figure: str, reason: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = document(results, f"Text.\n\n{figure}\n")
    for flags in ([], ["--write"]):
        assert figures.main(["--root", str(results), *flags]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("page.md:3: ")
        assert reason in shown
    assert page.read_text(encoding="utf-8") == f"Text.\n\n{figure}\n"


def test_the_parameters_of_the_default_model_are_counted(results: Path) -> None:
    committed = json.loads((ROOT / "data" / "metrics" / "train.json").read_text(encoding="utf-8"))["parameters"]
    document(results, f"{committed:,d}<!-- count.parameters ,d --> parameters\n")
    assert figures.main(["--root", str(results)]) == 0


SOURCE = """import functools


class Norm:
    \"\"\"A norm.\"\"\"

    @functools.cache
    def forward(self, x):  # a trap
        \"\"\"Return x.\"\"\"

        return x


def main():
    return Norm()
"""
FORWARD = """@functools.cache
def forward(self, x):  # a trap
    \"\"\"Return x.\"\"\"

    return x"""
MAIN = "def main():\n    return Norm()"
QUOTES = {
    "model.py::main": MAIN,
    "model.py::Norm.forward": FORWARD,
    "model.py::main,Norm.forward": f"{MAIN}\n\n{FORWARD}",
}


@pytest.fixture
def quoting(tmp_path: Path) -> Path:
    """A repository with a file of code."""
    (tmp_path / "model.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def in_list(text: str) -> str:
    return "1. Read:\n\n" + "".join(f"   {line}".rstrip() + "\n" for line in text.splitlines())


@pytest.mark.parametrize("name", QUOTES)
def test_quoted_code_is_that_of_the_source_and_refreshed_from_it(
    name: str, quoting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = block(f"python {name}", QUOTES[name])
    page = document(quoting, f"{right}\n{in_list(right)}\nEnd.\n")
    assert figures.main(["--root", str(quoting)]) == 0
    first = QUOTES[name].splitlines()[0]
    wrong = right.replace(first, f"{first}  # old").replace("return x", "return 2 * x\n    # more")
    document(quoting, f"{wrong}\n{in_list(wrong)}\nEnd.\n")
    assert figures.main(["--root", str(quoting)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2
    assert shown[0] == f"page.md:2: shown {first + '  # old'!r}, computed {first!r}"
    assert figures.main(["--root", str(quoting), "--write"]) == 0
    assert page.read_text(encoding="utf-8") == f"{right}\n{in_list(right)}\nEnd.\n"


@pytest.mark.parametrize("missing", ["\n    return x", "\n"])
def test_quoted_code_that_ends_early_or_late_is_corrected(missing: str, quoting: Path) -> None:
    right = block("python model.py::Norm.forward", FORWARD)
    page = document(quoting, right.replace(FORWARD, FORWARD.removesuffix(missing) + "\n" * (missing == "\n")))
    assert figures.main(["--root", str(quoting)]) == 1
    assert figures.main(["--root", str(quoting), "--write"]) == 0
    assert page.read_text(encoding="utf-8") == right


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("model.py::Norm.backward", "model.py has no function, class or method Norm.backward"),
        ("model.py::functools", "model.py has no function, class or method functools"),
        ("none.py::main", "none.py does not exist"),
        ("page.md::main", "is not of the form python PATH.py::NAME"),
        ("model.py:main", "is not of the form python PATH.py::NAME"),
        ("broken.py::main", "broken.py is not Python: line 1"),
    ],
)
def test_code_that_is_not_there_is_an_error_that_names_it(
    info: str, reason: str, quoting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (quoting / "broken.py").write_text("def main(:\n", encoding="utf-8")
    page = document(quoting, f"Text.\n\n{block(f'python {info}', 'x')}")
    for flags in ([], ["--write"]):
        assert figures.main(["--root", str(quoting), *flags]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("page.md:3: ")
        assert reason in shown
    assert page.read_text(encoding="utf-8") == f"Text.\n\n{block(f'python {info}', 'x')}"
