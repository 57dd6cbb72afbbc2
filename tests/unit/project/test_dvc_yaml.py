"""dvc.yaml against artifacts.py, against params.yaml and against what the stage scripts import."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.common.artifacts import PICTURES, STAGES, Artifacts
from minimal_llm.common.config import flatten, load_config
from minimal_llm.common.unfinished_runs import RESOLVED, SHAPES_NO_RESULT
from minimal_llm.training.identity import training_sources
from tests.support.stages import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "minimal_llm"
SHAPE_NO_RESULT = (PACKAGE / "common", PACKAGE / "pipeline")  # the one rule: never a dependency of a stage
# Read by the package, not imported: each lies in the folder of the module that reads it, at import or at work.
DATA_FILES = {
    PACKAGE / "corpus" / "primer" / "frames.py": PACKAGE / "corpus" / "primer" / "story_frames",
    PACKAGE / "corpus" / "primer" / "grammar" / "lexicon.py": PACKAGE / "corpus" / "primer" / "grammar" / "words",
    PACKAGE / "inference" / "safety" / "filter.py": PACKAGE / "inference" / "safety",
    PACKAGE / "validation" / "grammar" / "pairs.py": PACKAGE / "validation" / "grammar",
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


def needed_files(stage: str) -> set[Path]:
    """The files that shape what a stage makes: its script, and all that it imports by the one rule, with their data."""
    script = ROOT / "stages" / f"{stage}.py"
    imported = {
        file
        for file in imported_files(script)
        if file.name != "__init__.py" and not any(folder in file.parents for folder in SHAPE_NO_RESULT)
    }
    data = {path for module in imported & DATA_FILES.keys() for path in DATA_FILES[module].glob("*.yaml")}
    return {script} | imported | data


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_files_that_it_imports(name: str) -> None:
    entries = [ROOT / dep for dep in expanded(stages()[name]["deps"]) if not dep.startswith("data/")]
    listed = {file for entry in entries for file in ([entry] if entry.is_file() else entry.rglob("*"))}
    listed = {file for file in listed if file.suffix in (".py", ".yaml") and file.name != "__init__.py"}
    assert all(entry.exists() for entry in entries)
    assert not needed_files(name) - listed, f"imported by {name}, but dvc.yaml does not list them"
    assert not listed - needed_files(name), f"listed for {name} in dvc.yaml, but not imported"


def test_the_init_files_of_packages_hold_nothing_that_could_shape_a_result() -> None:
    for file in PACKAGE.rglob("__init__.py"):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            assert docstring or ast.unparse(statement).startswith("__version__ ="), file


def test_every_data_file_of_the_package_is_read_by_a_module_that_is_named_here() -> None:
    known = {path for folder in DATA_FILES.values() for path in folder.glob("*.yaml")}
    assert set(PACKAGE.rglob("*.yaml")) == known


def test_the_fingerprint_of_a_run_covers_the_code_that_dvc_yaml_lists_for_stage_train() -> None:
    expected = {str(file.relative_to(ROOT)) for file in needed_files("train")}
    covered = {name for name in training_sources(ROOT) if not name.endswith("__init__.py")}
    assert covered == expected


@pytest.mark.parametrize("name", STAGES)
def test_the_outputs_of_a_stage_are_those_that_artifacts_names(name: str) -> None:
    stage = stages()[name]
    declared = expanded(stage["outs"] + stage.get("metrics", []) + stage.get("plots", []))
    assert sorted(declared) == sorted(str(path) for path in Artifacts().outputs(name))


def test_every_data_dependency_is_the_output_of_an_earlier_stage() -> None:
    made = {str(Artifacts().files_record), str(Artifacts().model_record)}
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
    outs = {name: options for out in checked["outs"] for name, options in out.items()}
    artifacts = Artifacts()
    assert outs.keys() == {str(artifacts.input_links), str(artifacts.files_record), str(artifacts.model_record)}
    # A wrong parameter deletes nothing, and the run cache, which would copy what is linked, is off for the stage.
    assert all(options["persist"] for options in outs.values())
    assert set(stages()) - {"parameters"} == set(STAGES)
    # The others take what the download stage makes, so one edge puts all of them after the check.
    assert str(artifacts.files_record) in stages()[STAGES[0]]["deps"]


def test_metrics_plots_and_report_are_kept_in_git_so_that_they_can_be_read_right_after_a_clone() -> None:
    for stage in stages().values():
        for entry in [*stage["outs"], *stage.get("metrics", []), *stage.get("plots", [])]:
            name, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            kept = name.startswith(("data/metrics/", "data/plots/", "data/inputs/links")) or name == "data/report.md"
            assert (options.get("cache") is False) == kept, name


def test_few_flat_metrics_are_compared_so_that_they_fit_a_terminal() -> None:
    assert {name for stage in stages().values() for name in expanded(stage.get("metrics", []))} == {
        str(Artifacts().summary),
        str(Artifacts().cost),
    }


def test_every_picture_of_the_report_is_a_plot_of_dvc_once() -> None:
    plots = set(expanded(stages()["validate"]["plots"]))  # those for dark pages are plain outputs
    assert plots == {*(str(Artifacts().picture(name)) for name in PICTURES), str(Artifacts().latency)}


@pytest.mark.parametrize("name", [name for name in STAGES[:-1] if name != "tokenizer"])
def test_no_out_keeps_dvc_from_taking_a_known_result_from_its_cache(name: str) -> None:
    # DVC remembers no run of a stage with an out of `cache: false` that is neither a metric nor a plot.
    assert not [out for out in stages()[name]["outs"] if isinstance(out, dict)]


def test_dvc_deletes_no_file_whose_name_is_a_parameter() -> None:
    # Before a stage it deletes its outs, and with --single-item nothing has checked the name: it may be that of a file
    # elsewhere. The price: a tokenizer is trained again, in seconds, where DVC would have remembered it.
    outs = [out for stage in stages().values() for out in stage["outs"]]
    named = [out for out in outs if "${" in str(out)]
    assert named
    assert all(options == {"persist": True} for out in named for options in out.values())


def test_no_command_holds_a_path_of_this_machine() -> None:
    assert all(stage["cmd"] == f"python stages/{name}.py" for name, stage in stages().items())


def test_parameters_left_out_of_the_fingerprint_exist() -> None:
    assert set(flatten(load_config(ROOT / "params.yaml"))) >= SHAPES_NO_RESULT | RESOLVED


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_script_is_thin(name: str) -> None:
    assert len((ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60
