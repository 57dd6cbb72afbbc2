from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from minimal_llm.common.config import flatten, load_config
from minimal_llm.common.errors import ConfigurationError
from tests.support.stages import ROOT

PARAMS = ROOT / "params.yaml"


def test_the_committed_parameters_are_valid_and_have_dotted_names() -> None:
    flat = flatten(load_config(PARAMS))
    assert flat["train.epochs"] == 20
    assert flat["tokenizer.vocab_size"] == 8000
    assert flat["download.books.en"][0] == 11


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("tokenizer.vocab_size", 1000, 32000),
        ("model.layers", 1, 12),
        ("model.d_model", 64, 512),
        ("model.heads", 1, 16),
        ("model.feed_forward", 128, 2048),
        ("train.batch_size", 1, 128),
        ("train.learning_rate", 1e-5, 1e-2),
        ("train.epochs", 1, 100),
        ("train.max_seq_length", 32, 2048),
        ("download.primer_megabytes", 0.1, 100),
    ],
)
def test_the_bounds_of_a_range_are_accepted_and_values_beyond_are_refused(key: str, low: float, high: float) -> None:
    for value in (low, high):
        assert flatten(load_config(PARAMS, {key: value}))[key] == value
    for value in (low - (1 if low >= 1 else low / 2), high * 2):
        with pytest.raises(ConfigurationError, match=rf"{key} = {value}") as refused:
            load_config(PARAMS, {key: value})
        assert refused.value.exit_code == 1


@pytest.mark.parametrize("text", ["3e-05", "1e-3", "0.001"])
def test_a_number_that_yaml_reads_as_a_string_is_still_a_number(text: str) -> None:
    assert load_config(PARAMS, {"train.learning_rate": text}).train.learning_rate == float(text)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.epochs": "many"}, "train.epochs = 'many'"),
        ({"train.epochs": 2.5}, "train.epochs = 2.5"),
        ({"train.epochs": True}, "train.epochs"),
        ({"train.learning_rate": "nan"}, "train.learning_rate = nan"),
        ({"train.epoch": 7}, "train.epoch = 7: there is no such parameter"),
        ({"trian.epochs": 7}, "there is no parameter 'trian.epochs'"),
        ({"model.heads": 3}, "model.heads is 3, which does not divide model.d_model, 128"),
        ({"download.source": "ftp"}, "download.source = 'ftp'"),
        ({"download.source": "files"}, "download.files is empty"),
        ({"tokenizer.name": "../evil"}, "tokenizer.name = '../evil'"),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_value(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=r".") as refused:
        load_config(PARAMS, overrides)
    assert message in refused.value.message


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_config(PARAMS, {"train.epochs": 0, "model.layers": 99})
    assert "train.epochs" in refused.value.message
    assert "model.layers" in refused.value.message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    del params["train"]["dropout"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"train\.dropout is missing"):
        load_config(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", ["", "- 1\n", "a: [1\n", None])
def test_a_file_without_parameters_is_refused_and_the_remedy_restores_it(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_config(path)
    assert "git checkout" in refused.value.remedy


def test_a_configuration_is_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(PARAMS).train.epochs = 3  # type: ignore[misc]
