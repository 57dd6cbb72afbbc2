"""Hostile and mistyped parameters: refused with the key and the value, and nothing is executed, deleted or written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from minimal_llm.cli.main import main
from minimal_llm.common.config import LARGEST_FILE, Config, flatten, load_config, parse_config, read_params
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.experiments.grid import read_grid, read_recipe
from minimal_llm.pipeline.overrides import dvc_command
from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.stages import ROOT, run_stage

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
KEYS = sorted(flatten(load_config(ROOT / "params.yaml")))
REFUSED = "exit 1, names the key and the value, or the line of the file; nothing is executed, deleted or written"


def value(key: str, text: str) -> str:
    """params.yaml with other text where the value of a key is."""
    lines = TEXT.splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if line.startswith(f"{key}:"))
    lines[number] = f"{key}: {text}\n"
    return "".join(lines)


def laughs(levels: int = 9) -> str:
    """Nine lines that are 9 ** 9 values when they are written out."""
    lines = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, levels)]
    return "x0: &x0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(lines)


# What stands in the file, and a part of the message
WHOLE_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "does not contain parameter sections"),
    "a list": ("[1, 2]", "does not contain parameter sections"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read"),
    "UTF-16": (TEXT.encode("utf-16"), "can't decode byte 0xff"),
    "a NUL": (TEXT + "\0", "#x0000"),
    "tabs": (TEXT.replace("  epochs", "\tepochs", 1), "'\\t'"),
    "10,000 brackets": ("[" * 10_000, "nested too deeply"),
    "10,000 braces": ("{a: " * 10_000, "nested too deeply"),
    "anchors that explode": (laughs() + TEXT, "aliases (*name) are not allowed"),
    "anchors without end": ("a: &a [*a]\n" + TEXT, "aliases (*name) are not allowed"),
    "merged keys": ("<<: {extra: 1}\n" + TEXT, "extra = 1: there is no such parameter"),
    "a merged number": ("<<: 3\n" + TEXT, "expected a mapping"),
    "every key twice": (TEXT + TEXT, "'seed' is there twice"),
    "10 MB": (TEXT + "#" * 10_000_000, "10.0 MB are too many"),
    "a missing key": (TEXT.replace("  epochs:", "  #", 1), "train.epochs is missing"),
    "an extra key": (TEXT + "wide: 1\n", "wide = 1: there is no such parameter"),
    "a key that is a number": (TEXT + "1: 2\n", "Keys should be strings"),
    "a key that is a list": (TEXT + "? [1]\n: 2\n", "unhashable"),
    "a key that is null": (TEXT + "~: 2\n", "Keys should be strings"),
    "code": ('!!python/object/apply:os.mkdir ["TRACE"]', "python/object/apply"),
    "code in a value": (value("seed", '!!python/object/apply:os.mkdir ["TRACE"]'), "python/object/apply"),
}
VALUES: dict[str, str] = {
    ".nan": "finite",
    ".inf": "finite",
    "1e999": "finite",
    "9" * 5000: "4300 digits",
    f"'{'9' * 5000}'": "finite",
    "1" + "0" * 400: "characters)",
    "1:30": "'1:30'",
    "0x10": "'0x10'",
    "yes": "not true or false",
    "null": "None",
    "2026-99-99": "'2026-99-99'",
    "[1]": "[1]",
    "{a: 1}": "{'a': 1}",
    "-1": "at least 0",
    "0.5": "0.5",
    "4294967296": "below 4294967296",
    "!!int x": "invalid literal",
    "!!int ''": "cannot be read",
    "!!float x": "could not convert",
    "!!timestamp x": "cannot be read",
    "!!binary '####'": "integer",
    "!!set {a}": "integer",
}
NAMES = (
    "../../x",
    "../x",
    "/root/x",
    "a/b",
    "a b",
    "..",
    ".hidden",
    "$(touch x)",
    "x;rm -rf .",
    "x\n",
    "",
    "ñ",
    "x" * 65,
)


def refused(path: Path, read: Callable[[Path], object] = load_config) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ConfigurationError) as error:
        read(path)
    assert str(path) in error.value.message
    assert error.value.exit_code == 1
    assert error.value.remedy
    assert len(error.value.message) < 2000
    return error.value.message


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_that_is_not_parameters_is_refused(tmp_path: Path, count: Count) -> None:
    params = tmp_path / "params.yaml"
    for content, told in WHOLE_FILES.values():
        if isinstance(content, str):
            content = content.replace("TRACE", str(tmp_path / "executed"))
        assert told in refused(write(params, content)), told
    params.unlink()
    params.mkdir()
    assert "Is a directory" in refused(params)
    assert list(tmp_path.iterdir()) == [params]
    count("Input", "params.yaml: " + ", ".join([*WHOLE_FILES, "a folder"]), REFUSED, len(WHOLE_FILES) + 1)


def test_values_of_the_wrong_kind_are_refused(tmp_path: Path, count: Count) -> None:
    for text, told in VALUES.items():
        assert told in refused(write(tmp_path / "params.yaml", value("seed", text))), text
    fault = "a parameter that is NaN, infinite, huge, a date, yes, null, a list or a tag"
    count("Input", fault, REFUSED, len(VALUES))


def test_a_number_means_what_dvc_reads(tmp_path: Path) -> None:
    # PyYAML would read 8 and 90
    assert load_config(write(tmp_path / "params.yaml", value("seed", "010"))).seed == 10
    assert load_config(write(tmp_path / "params.yaml", value("seed", "1_000"))).seed == 1000


def test_line_ends_and_byte_order_marks_of_other_systems_are_read(tmp_path: Path) -> None:
    expected = load_config(ROOT / "params.yaml")
    for content in ("\ufeff" + TEXT, TEXT.replace("\n", "\r\n")):
        assert load_config(write(tmp_path / "params.yaml", content)) == expected


def test_names_that_lead_out_of_the_data_folder_are_refused(count: Count) -> None:
    for name in NAMES:
        with pytest.raises(ConfigurationError, match=r"tokenizer\.name = "):
            load_config(ROOT / "params.yaml", {"tokenizer.name": name})
    for key, name in (("train.init_from", "\0"), ("download.files", ["a\0b"])):
        with pytest.raises(ConfigurationError, match=key):
            load_config(ROOT / "params.yaml", {key: name})
    count("Input", "a tokenizer.name that leaves data/, or is no file name", REFUSED, len(NAMES) + 2)


def test_grids_and_recipes_are_read_with_the_same_care(tmp_path: Path, count: Count) -> None:
    grid = tmp_path / "grid.yaml"
    files: dict[str, tuple[str | bytes, str]] = {
        "anchors that explode": (laughs(), "aliases"),
        "10,000 brackets": ("[" * 10_000, "nested too deeply"),
        "code": (f"seed: !!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']", "python/object"),
        "a key twice": ("seed: 1\nseed: 2\n", "twice"),
        "UTF-16": ("seed: 1".encode("utf-16"), "can't decode"),
        "text": ("hello", "does not map parameters to values"),
        "larger than any grid": ("#" * (LARGEST_FILE + 1), "too many"),
        "empty": ("", "sets no parameters"),
        "an empty list": ("seed: []", "the list is empty"),
        "an unknown key": ("wide: 1", "wide = 1: there is no such parameter"),
        "a wrong value": ("train.epochs: [1, x]", "train.epochs = 'x'"),
        "a path": ("tokenizer.name: ../../x", "tokenizer.name = '../../x'"),
        "too many": ("seed: [" + ",".join(map(str, range(1001))) + "]", "1,001 combinations"),
    }
    for content, told in files.values():
        assert told in refused(write(grid, content), lambda path: read_grid(path, {}))
    for name in ("anchors that explode", "10,000 brackets", "code", "UTF-16", "text"):
        assert files[name][1] in refused(write(grid, files[name][0]), read_recipe)
    assert list(tmp_path.iterdir()) == [grid]
    count("Input", "a grid or a recipe with " + ", ".join(files), REFUSED, len(files) + 5)


def test_a_stage_and_the_check_refuse_them_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: Count
) -> None:
    params = write(tmp_path / "params.yaml", laughs() + TEXT)
    done = run_stage("download", tmp_path / "data", "--params", str(params))
    assert done.returncode == 1
    assert f"error: {params} cannot be read: aliases" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 1
    told = capsys.readouterr()
    assert "params.yaml cannot be read: aliases" in told.err + told.out
    count("Input", "a hostile params.yaml given to a stage and to make check", REFUSED, 2)


@needs_venv
def test_text_for_a_shell_in_a_variable_of_make_is_a_value_and_never_run(tmp_path: Path, count: Count) -> None:
    clone = Clone(tmp_path / "clone")
    before = sorted(clone.folder.iterdir())
    hostile = "1; touch run || $$(touch run) `touch run` & touch run | ' touch run \""
    given = dict.fromkeys(("EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "MAX_SEQ_LENGTH", "VOCAB_SIZE"), "train")
    given |= {"CORPUS": "train", "RESUME": "train", "NAME": "example", "JOBS": "example", "GRID": "sweep"}
    for name, target in given.items():
        told = clone.run("make", target, f"{name}={hostile}", code=2)
        assert "Traceback" not in told, told
        assert "touch run" in told, told
        assert "What to do" in told, told
    assert sorted(clone.folder.iterdir()) == before
    count("Input", "text for a shell as EPOCHS, CORPUS, NAME, … of make", REFUSED, len(given))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5), st.dates()
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def read_or_refuse(overrides: dict[str, Any]) -> None:
    """Values either make a configuration that is the same after it is written and read again, or are refused."""
    try:
        config = parse_config(_params(), overrides)
    except ConfigurationError:
        return
    assert isinstance(config, Config)
    assert parse_config(_params(), flatten(config)) == config
    assert parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json", by_alias=True))), {}) == config
    assert all("\n" not in word or "\n" in str(overrides) for word in dvc_command(config, list(overrides)))


def _params(cache: dict[str, Any] = {}) -> Any:  # noqa: B006  # read once: it is parsed anew thousands of times
    if not cache:
        cache["params"] = read_params(ROOT / "params.yaml")
    return cache["params"]


OVERRIDES = st.dictionaries(
    st.sampled_from(KEYS) | st.sampled_from([key.split(".")[0] for key in KEYS]) | st.text(max_size=10),
    ANYTHING | st.integers(0, 100).map(str) | st.floats(0, 1).map(str),
    max_size=3,
)


@given(OVERRIDES)
@settings(max_examples=60, deadline=None)
def test_any_values_make_a_configuration_or_are_refused(overrides: dict[str, Any]) -> None:
    read_or_refuse(overrides)


@pytest.mark.long
def test_thousands_of_any_values_make_a_configuration_or_are_refused(count: Count) -> None:
    rounds = 0

    @given(OVERRIDES)
    @settings(max_examples=5000, deadline=None)
    def check(overrides: dict[str, Any]) -> None:
        nonlocal rounds
        rounds += 1
        read_or_refuse(overrides)

    check()
    count("Input", "parameters of any type and value", "a configuration, or " + REFUSED, rounds)


@pytest.mark.long
def test_any_text_as_parameters_is_refused(tmp_path: Path, count: Count) -> None:
    rounds = 0

    @given(st.text(max_size=300) | st.binary(max_size=300) | ANYTHING.map(yaml.dump))
    @settings(max_examples=3000, deadline=None)
    def check(content: str | bytes) -> None:
        nonlocal rounds
        rounds += 1
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        refused(write(tmp_path / "params.yaml", content))

    check()
    count("Input", "any text or bytes as params.yaml", REFUSED, rounds)


@pytest.mark.long
@pytest.mark.parametrize("name", ["../../outside/x", "../x", "sub/x", "../stages/x"])
def test_dvc_deletes_nothing_outside_data_whatever_the_name_of_the_tokenizer(
    tmp_path: Path, name: str, count: Count
) -> None:
    clone = Clone(tmp_path / "clone")
    places = [tmp_path / "outside", clone.folder, clone.folder / "data" / "sub", clone.folder / "stages"]
    precious = [place / f"x.{kind}" for place in places for kind in ("model", "vocab")]
    for path in precious:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious", encoding="utf-8")
    params = clone.folder / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("bilingual_8k", name), encoding="utf-8")
    rounds = 0
    for command in (["repro"], ["repro", "tokenizer"], ["repro", "--single-item", "tokenizer"], ["status"]):
        done = subprocess.run(
            ["dvc", *command], cwd=clone.folder, env=clone.environment, stdin=subprocess.DEVNULL, check=False
        )
        # `dvc status` itself fails at an output that leads out of the repository
        assert (done.returncode == 0) == (command == ["status"] and not name.startswith("../../"))
        assert all(path.read_text(encoding="utf-8") == "precious" for path in precious), command
        rounds += 1
    count("Input", "a tokenizer.name that leaves data/, given to DVC", "nothing outside data/ is deleted", rounds)
