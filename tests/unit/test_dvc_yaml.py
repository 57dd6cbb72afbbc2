"""dvc.yaml against artifacts.py, against params.yaml and against what the stage scripts import."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.artifacts import PICTURES, STAGES, Artifacts
from minimal_llm.config import flatten, load_config
from minimal_llm.training.checkpoint import SOURCES
from minimal_llm.training.runs import RESOLVED, SHAPES_NO_RESULT
from tests.conftest import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "minimal_llm"
# Imported by stages without shaping what they make, so a change of theirs must not retrain a model.
PLUMBING = {
    "__init__.py": "a version string",
    "artifacts.py": "paths: they stand in dvc.yaml themselves",
    "config.py": "reads and checks values that dvc.yaml lists key by key",
    "cores.py": "number of threads: as hardware.py",
    "errors.py": "wording of errors",
    "files.py": "how a file is written, not what",
    "hardware.py": "threads and precision: recorded beside the result, and part of a checkpoint's fingerprint",
    "memory.py": "reads this process's memory, which is recorded apart",
    "stage.py": "command line and exit codes",
    "status.py": "the record of a run",
}


def stages() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return loaded


def expanded(paths: list[Any]) -> list[str]:
    names = [next(iter(path)) if isinstance(path, dict) else path for path in paths]
    return [name.replace("${tokenizer.name}", "bilingual_8k") for name in names]


def imported_files(start: Path) -> set[Path]:
    """All files of the package that a script imports, directly or not, late imports included."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        for module in imported_modules(waiting.pop()):
            path = SOURCE.joinpath(*module.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if file.exists() and file not in found:
                found.add(file)
                waiting.append(file)
    return found


def imported_modules(file: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: write imports out in full"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parents = {module.rsplit(".", n)[0] for module in modules for n in range(module.count(".") + 1)}
    return {module for module in modules | parents if module.startswith("minimal_llm")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_every_file_that_it_imports_and_on_no_other(name: str) -> None:
    listed = [ROOT / dep for dep in expanded(stages()[name]["deps"]) if not dep.startswith("data/")]
    assert ROOT / "stages" / f"{name}.py" in listed
    closure = imported_files(ROOT / "stages" / f"{name}.py")
    shaping = {
        file for file in closure if str(file.relative_to(PACKAGE)) not in PLUMBING and file.name != "__init__.py"
    }
    missing = {file for file in shaping if not any(file == dep or dep in file.parents for dep in listed)}
    assert not missing, f"imported but not in the deps of {name}: {sorted(missing)}"
    needless = {
        dep for dep in listed if dep.is_file() and dep.suffix == ".py" and PACKAGE in dep.parents and dep not in shaping
    }
    assert not needless, f"in the deps of {name} but not imported: {sorted(needless)}"


@pytest.mark.parametrize("name", STAGES)
def test_the_outputs_of_a_stage_are_those_that_artifacts_names(name: str) -> None:
    stage = stages()[name]
    declared = expanded(stage["outs"] + stage.get("metrics", []) + stage.get("plots", []))
    assert sorted(declared) == sorted(str(path) for path in Artifacts().outputs(name))


def test_every_data_dependency_is_the_output_of_an_earlier_stage() -> None:
    made = {str(Artifacts().parameters_checked)}
    for name in STAGES:
        stage = stages()[name]
        assert {dep for dep in expanded(stage["deps"]) if dep.startswith("data/")} <= made
        made |= {str(path) for path in Artifacts().outputs(name)}


def test_every_parameter_belongs_to_a_stage_and_is_listed_key_by_key() -> None:
    listed = {key for name in STAGES for key in stages()[name]["params"]}
    known = {key.removesuffix(".en").removesuffix(".es") for key in flatten(load_config(ROOT / "params.yaml"))}
    assert listed == known - SHAPES_NO_RESULT


def test_nothing_runs_before_all_parameters_are_checked() -> None:
    checked = stages()["parameters"]
    assert set(checked["params"]) == {key.split(".")[0] for key in flatten(load_config(ROOT / "params.yaml"))}
    assert checked["outs"] == [str(Artifacts().parameters_checked)]
    assert set(stages()) - {"parameters"} == set(STAGES)
    # The others take what the download stage makes, so one edge puts all of them after the check.
    assert checked["outs"][0] in stages()[STAGES[0]]["deps"]


def test_metrics_plots_and_report_are_kept_in_git_so_that_they_can_be_read_right_after_a_clone() -> None:
    for stage in stages().values():
        for entry in [*stage["outs"], *stage.get("metrics", []), *stage.get("plots", [])]:
            name, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            kept = name.startswith(("data/metrics/", "data/plots/")) or name == "data/report.md"
            assert (options.get("cache") is False) == kept, name


def test_few_flat_metrics_are_compared_so_that_they_fit_a_terminal() -> None:
    assert {name for stage in stages().values() for name in expanded(stage.get("metrics", []))} == {
        str(Artifacts().summary),
        str(Artifacts().cost),
    }


def test_every_picture_of_the_report_is_a_plot_of_dvc() -> None:
    plots = set(expanded(stages()["validate"]["plots"]))
    assert plots == {*(str(Artifacts().picture(name)) for name in PICTURES), str(Artifacts().latency)}


@pytest.mark.parametrize("name", STAGES[:-1])
def test_no_out_keeps_dvc_from_taking_a_known_result_from_its_cache(name: str) -> None:
    # DVC remembers no run of a stage with an out of `cache: false` that is neither a metric nor a plot.
    assert not [out for out in stages()[name]["outs"] if isinstance(out, dict)]


def test_no_command_holds_a_path_of_this_machine() -> None:
    assert all(stage["cmd"] == f"python stages/{name}.py" for name, stage in stages().items())


def test_the_fingerprint_of_a_run_covers_all_code_that_the_loop_is_made_of() -> None:
    loop = imported_files(PACKAGE / "training" / "loop.py") | {PACKAGE / "training" / "loop.py"}
    names = {str(file.relative_to(PACKAGE)) for file in loop if file.name != "__init__.py"}
    recorded_otherwise = {
        *PLUMBING,
        "corpus/split.py",  # shaped the token files, whose hash is in the fingerprint
        "language.py",
        "token_files.py",
        "tokenizer.py",
        "model_file.py",  # how state is stored, not what it is
        "versions.py",
        "training/checkpoint.py",
        "training/live.py",  # what a run says of itself
        "training/runs.py",
        "training/signals.py",  # when a run stops, not what it computes
    }
    assert names - recorded_otherwise == set(SOURCES)


def test_parameters_left_out_of_the_fingerprint_exist() -> None:
    assert set(flatten(load_config(ROOT / "params.yaml"))) >= SHAPES_NO_RESULT | RESOLVED


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_script_is_thin(name: str) -> None:
    assert len((ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60
