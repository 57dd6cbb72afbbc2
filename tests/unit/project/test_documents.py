"""scripts/documents.py and scripts/figures.py notice what is wrong in a document and accept what is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
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
    "a wrong word": (block("python", "print('loss 4.38')", "gain 4.38"), 1, "no line for: gain 4.38"),
    "a number too far off": (block("python", "print('loss 4.38')", "loss 4.7"), 1, "loss 4.7"),
    "a number inside a word": (block("python", "print('v100')", "v101"), 1, "v101"),
    "a line too many": (block("python", "print('a')\nprint('b')", "a"), 1, "prints more"),
    "a line too few": (block("python", "print('a')", "a\nb"), 1, "no line for: b"),
    "the order of lines": (block("python", "print('b\\na\\nc')", "...\na\n...\nb\n..."), 1, "no line for: b"),
    "Python that raises": (block("python", "x = 1\nx / 0"), 1, "line 3, in <module>"),
    "Python that raises after what is shown": (block("python", "print(1)\n1 / 0", "1"), 1, "ZeroDivisionError"),
    "an exception that any lines would cover": (block("python", "1 / 0", "..."), 1, "ZeroDivisionError"),
    "Python that ends its process": (block("python", "import os; os._exit(3)"), 1, "exit code 3"),
    "Python that exits": (block("python", "raise SystemExit(0)"), 1, "SystemExit"),
    "a command that fails": (block("sh", "false\necho after"), 1, "exit code 1"),
    "a command that fails in a pipe": (block("sh", "false | cat"), 1, "exit code 1"),
    "a variable that is not set": (block("sh", "echo $nothing_like_it"), 1, "nothing_like_it"),
    "a wrong word of stderr": (block("sh", "echo oh >&2", "ah"), 1, "no line for: ah"),
    "a name of another section": (
        f"## A\n\n{block('python', 'x = 1')}\n## B\n\n{block('python', 'print(x)')}",
        9,
        "NameError",
    ),
    "an exemption without a reason": (f"*Not run by the tests: *\n\n{block('sh', 'false')}", 1, "without a reason"),
    "an exemption without a colon": (f"*Not run by the tests.*\n\n{block('sh', 'false')}", 1, "without a reason"),
    "an exemption of nothing": (
        "*Not run by the tests: too long.*\n\nText.\n\n```sh\ntrue\n```\n",
        1,
        "no python or sh",
    ),
    "an exemption of a section in its middle": (
        f"## A\n\nText.\n\n*Not run by the tests, the blocks of this section: long.*\n\n{block('sh', 'true')}",
        5,
        "directly below its heading",
    ),
    "a section that is exempt no more": (
        f"## A\n\n*Not run by the tests, the blocks of this section: long.*\n\n## B\n\n{block('sh', 'false')}",
        7,
        "exit code 1",
    ),
    "indented code": ("Text.\n\n    print(1)\n", 3, "indented code block"),
    "indented code in a list": ("- Text.\n\n      print(1)\n", 3, "indented code block"),
    "a fence that is not run": (block("bash", "true"), 1, "'bash' is not run"),
    "a fence of nothing": (block("", "true"), 1, "'' is not run"),
    "an output of nothing": (f"```text\nx\n```\n\n{block('output', '1')}", 5, "without a python or sh block"),
}


@pytest.mark.parametrize("name", WRONG)
def test_it_notices(name: str, tmp_path: Path) -> None:
    text, line, reason = WRONG[name]
    faults = check(document(tmp_path, text), tmp_path, LIMIT_SECONDS, write=False)
    assert faults[0].line == line
    assert reason in faults[0].text


RIGHT = {
    "numbers that are near": block(
        "python", "print('loss 4.38, 26,640 tokens/s, -1e-3')", "loss 4.4, 27,000 tokens/s, 0.01"
    ),
    "runs of spaces": block("python", "print('a   b  [ 0.5, -1]')", "  a b [0.5,  -1.0]"),
    "any text in a line": block("python", "print('epoch 3 took 29 s')", "epoch 3 ... s"),
    "any lines": block("python", "print('a\\nb\\nc\\nd')", "a\n...\nd\n..."),
    "an exception that is shown": block("python", "print(1)\n{}['k']", "1\nKeyError: 'k'"),
    "names of a section": f"## A\n\n{block('python', 'x = 1')}\n### B\n\n{block('python', 'print(x)', '1')}",
    "what child processes print": block("python", "import os\nprint(1)\nos.system('echo 2')\nprint(3)", "1\n2\n3"),
    "only stdout of Python": block("python", "import sys\nprint(1)\nprint(2, file=sys.stderr)", "1"),
    "stderr of a shell": block("sh", "echo 1; echo 2 >&2", "1\n2"),
    "an empty stdin": block("sh", "cat", ""),
    "the last state of a progress bar": block("sh", r"printf '10%%\r100%%\n'", "100%"),
    "a shell of its own for each block": block("sh", "cd /; x=1")
    + "\n"
    + block("sh", 'test "${x-}" = ""; cat page.md | wc -l', "..."),
    "an exempt block": f"Text. *Not run by the tests: it takes hours.*\n\n{block('sh', 'false', 'nothing')}",
    "an exempt section": f"## A\n\n*Not run by the tests, the blocks of this section: long.*\n\n{block('sh', 'false')}"
    f"\n### B\n\nText.\n\n{block('python', '1 / 0')}",
    "text": block("text", "  a\n    b") + "\n" + block("yaml", "a: 1"),
    "a block in a list": "1. Do:\n\n   ```python\n   if True:\n       print(1)\n   ```\n\n   ```output\n   1\n   ```\n",
    "a finished make quick": block("sh", "mkdir -p runs/quick; touch runs/quick/report.md")
    + "\n"
    + block("sh", "make quick"),
    "the model of make quick": block("sh", "mkdir -p runs/quick data; echo 5 > runs/quick/best_model.pt")
    + f"\n*Run by the tests with the small model of `make quick`.*\n\n{block('sh', 'cat data/best_model.pt', '5')}",
}


@pytest.mark.parametrize("name", RIGHT)
def test_it_accepts(name: str, tmp_path: Path) -> None:
    assert check(document(tmp_path, RIGHT[name]), tmp_path, LIMIT_SECONDS, write=False) == []


@pytest.mark.parametrize(("language", "code"), [("python", "import time; time.sleep(60)"), ("sh", "sleep 60 & wait")])
def test_a_block_that_takes_too_long_fails_and_ends(language: str, code: str, tmp_path: Path) -> None:
    done = run(tmp_path, block(language, code), "--limit", "2")
    assert done.returncode == 1
    assert "ran longer than 2 s" in done.stdout


def test_what_a_block_starts_ends_with_the_document(tmp_path: Path) -> None:
    alive = block("sh", "setsid sleep 300 & echo $! > number; sleep 1") + "\n" + block("sh", "kill -0 $(cat number)")
    assert run(tmp_path, alive).returncode == 0
    number = int((tmp_path / "number").read_text(encoding="utf-8"))
    processes = {process.pid: process for process in psutil.process_iter()}
    assert number not in processes or processes[number].status() == psutil.STATUS_ZOMBIE  # init is slow


def test_write_replaces_only_what_differs(tmp_path: Path) -> None:
    right = block("python", "print('loss 4.38')", "loss  ...")
    listed = "- In a list:\n\n  ```python\n  print('a')\n  print(' b')\n  ```\n\n  ```output\n  {}\n  ```\n"
    broken = block("python", "print(1)\n1 / 0", "2")
    done = run(tmp_path, f"{right}\n{listed.format('x')}\n## End\n\n{broken}", "--write")
    assert (tmp_path / "page.md").read_text(
        encoding="utf-8"
    ) == f"{right}\n{listed.format('a' + chr(10) + '   b')}\n## End\n\n{broken}"
    assert done.returncode == 1  # no output makes an exception right
    assert done.stdout.count("page.md:") == 1
    assert run(tmp_path, f"{right}\n{listed.format('a' + chr(10) + '   b')}").returncode == 0


def test_a_document_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = tool("documents", tmp_path / "none.md")
    assert done.returncode == 2
    assert "none.md is not a file" in done.stderr


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A repository with few results."""
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


def test_figures_that_are_right_are_accepted(results: Path) -> None:
    table = "".join(f"| (**{shown}<!-- {comment} -->**) |\n" for comment, shown in FIGURES.items())
    document(results, f"{table}\n```text\n1<!-- train.val_loss .3f -->\n```\n")
    done = tool("figures", "--root", results)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_figure_is_noticed_and_written(results: Path) -> None:
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
        ("1<!-- sweep['x'].val_loss .3f -->", "docs/reference/sweep.json is not there"),
        ("1<!-- open('params.yaml') s -->", "not allowed in an expression"),
        ("1<!-- train.val_loss.__class__ s -->", "has no '__class__'"),
        ("1<!-- train.corpus .3f -->", "format"),
        ("1<!-- train.val_loss -->", "a format"),
        ("1<!-- train. .3f -->", "invalid syntax"),
        ("1 <!-- train.val_loss .3f -->", "no number directly before"),
    ],
)
def test_a_figure_that_cannot_be_computed_is_an_error_also_when_writing(
    figure: str, reason: str, results: Path
) -> None:
    page = document(results, f"Text.\n\n{figure}\n")
    for flags in ([], ["--write"]):
        done = tool("figures", "--root", results, *flags)
        assert done.returncode == 1
        assert done.stdout.startswith("page.md:3: ")
        assert reason in done.stdout
    assert page.read_text(encoding="utf-8") == f"Text.\n\n{figure}\n"


def test_the_parameters_of_the_default_model_are_counted(results: Path) -> None:
    committed = json.loads((ROOT / "data" / "metrics" / "train.json").read_text(encoding="utf-8"))["parameters"]
    document(results, f"{committed:,d}<!-- count.parameters ,d --> parameters\n")
    done = tool("figures", "--root", results)
    assert done.returncode == 0, done.stdout + done.stderr
