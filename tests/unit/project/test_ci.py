"""The workflow, the development container and the editor's recommendations name what is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from minimal_llm.cli.main import build_parser
from minimal_llm.common.config import flatten, load_config
from tests.support.stages import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
MAY = {  # what each job is allowed beyond reading the repository
    "docs.yml": {"build": {"contents": "read", "pages": "read"}, "publish": {"pages": "write", "id-token": "write"}},
}


def workflow(name: str = "ci.yml") -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true
    content: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(name: str = "ci.yml") -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def makefile_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def test_every_command_of_the_workflow_is_one_of_this_repository() -> None:
    lines = [line.strip() for step in steps() for line in step.get("run", "").splitlines()]
    made = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert {"setup", "setup-dev", "docs", "lint", "test"} == made
    assert made <= makefile_targets()
    runs = [shlex.split(line) for line in lines if line.startswith("dvc exp run")]
    assert len(runs) == 1
    settings = dict(word.split("=") for flag, word in zip(runs[0], runs[0][1:], strict=False) if flag == "-S")
    assert settings["train.epochs"] == "1"
    assert settings["download.source"] == "primer"
    overridden = flatten(load_config(ROOT / "params.yaml", overrides=settings))  # names and ranges are checked
    assert str(overridden["train.epochs"]) == "1"
    assert any("GITHUB_STEP_SUMMARY" in line for line in lines)


def test_the_site_is_published_with_the_commands_of_this_repository() -> None:
    lines = [line.strip() for step in steps("docs.yml") for line in step.get("run", "").splitlines()]
    made = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert {"quick", "docs"} == made
    assert made <= makefile_targets()
    (export,) = (shlex.split(line)[1:] for line in lines if line.startswith("minimal-llm export"))
    options = build_parser().parse_args(export)
    assert (options.format, str(options.model)) == ("html", "runs/quick/best_model.pt")
    (website,) = (shlex.split(line) for line in lines if "website.py" in line)
    assert website[1:] == ["scripts/website.py", "--demo", f"{options.output}/*.html", "--url", "$URL"]
    (uploaded,) = (
        step["with"]["path"] for step in steps("docs.yml") if "upload-pages-artifact" in step.get("uses", "")
    )
    assert uploaded == "runs/site/html"


def test_the_site_is_published_from_main_alone_and_only_where_pages_is_enabled() -> None:
    content = workflow("docs.yml")
    assert content["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}
    assert "has_pages" in content["jobs"]["build"]["if"]
    assert content["jobs"]["publish"]["needs"] == "build"


@pytest.mark.parametrize("name", sorted(path.name for path in WORKFLOWS.iterdir()))
def test_a_workflow_may_do_little_and_ends_in_time(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    for title, job in content["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60
        assert job.get("permissions") == MAY.get(name, {}).get(title)
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", step["uses"])
        assert "secrets." not in json.dumps(step)
        assert "${{" not in step.get("run", "")  # a value never becomes text of the shell
    pip = [step["with"] for step in steps(name) if "setup-python" in step.get("uses", "")]
    assert len(pip) == sum("checkout" in json.dumps(job) for job in content["jobs"].values())
    assert all(inputs["cache"] == "pip" and list(ROOT.glob(inputs["cache-dependency-path"])) for inputs in pip)


def test_the_container_sets_up_what_the_editor_needs() -> None:
    container = json.loads((ROOT / ".devcontainer.json").read_text(encoding="utf-8"))
    assert "python" in container["image"]
    assert "3.11" in container["image"]
    assert container["postCreateCommand"].removeprefix("make ") in makefile_targets()
    recommended = json.loads((ROOT / ".vscode" / "extensions.json").read_text(encoding="utf-8"))["recommendations"]
    assert container["customizations"]["vscode"]["extensions"] == recommended
    assert {"ms-python.python", "iterative.dvc"} <= set(recommended)


@pytest.mark.parametrize(
    "path", [".vscode/extensions.json", ".devcontainer.json", ".github/workflows/ci.yml", ".github/workflows/docs.yml"]
)
def test_git_does_not_ignore_them(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False)
    assert done.returncode == 1
