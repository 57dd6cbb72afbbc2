"""The workflow, the development container and the editor's recommendations name what is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from minimal_llm.common.config import flatten, load_config
from tests.support.stages import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def workflow() -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true
    content: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def makefile_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def test_every_command_of_the_workflow_is_one_of_this_repository() -> None:
    lines = [line.strip() for step in steps() for line in step.get("run", "").splitlines()]
    made = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert {"setup", "setup-dev", "lint", "test"} == made
    assert made <= makefile_targets()
    runs = [shlex.split(line) for line in lines if line.startswith("dvc exp run")]
    assert len(runs) == 1
    settings = dict(word.split("=") for flag, word in zip(runs[0], runs[0][1:], strict=False) if flag == "-S")
    assert settings["train.epochs"] == "1"
    assert settings["download.source"] == "primer"
    overridden = flatten(load_config(ROOT / "params.yaml", overrides=settings))  # names and ranges are checked
    assert str(overridden["train.epochs"]) == "1"
    assert any("GITHUB_STEP_SUMMARY" in line for line in lines)


def test_the_workflow_may_do_little_and_ends_in_time() -> None:
    content = workflow()
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        assert "permissions" not in job
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    for step in steps():
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", step["uses"])
        assert "secrets." not in json.dumps(step)
    pip = [step["with"] for step in steps() if "setup-python" in step.get("uses", "")]
    assert len(pip) == len(content["jobs"])
    assert all(inputs["cache"] == "pip" and list(ROOT.glob(inputs["cache-dependency-path"])) for inputs in pip)


def test_the_container_sets_up_what_the_editor_needs() -> None:
    container = json.loads((ROOT / ".devcontainer.json").read_text(encoding="utf-8"))
    assert "python" in container["image"]
    assert "3.11" in container["image"]
    assert container["postCreateCommand"].removeprefix("make ") in makefile_targets()
    recommended = json.loads((ROOT / ".vscode" / "extensions.json").read_text(encoding="utf-8"))["recommendations"]
    assert container["customizations"]["vscode"]["extensions"] == recommended
    assert {"ms-python.python", "iterative.dvc"} <= set(recommended)


@pytest.mark.parametrize("path", [".vscode/extensions.json", ".devcontainer.json", ".github/workflows/ci.yml"])
def test_git_does_not_ignore_them(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False)
    assert done.returncode == 1
