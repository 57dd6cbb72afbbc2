"""Which models pass the checks."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from minimal_llm.common.config import load_config
from minimal_llm.corpus.languages import Language
from minimal_llm.validation.gates import all_passed, quality_gates

LANGUAGE = {"loss": 4.0, "repetition": 0.1, "right_language": 1.0}
QUALITY: dict[str, Any] = {
    "val_loss": 4.0,
    "baselines": {"unigram": 6.0},
    "gap": 0.1,
    "en": LANGUAGE,
    "es": LANGUAGE,
    "int8": {"loss_increase": 0.0},
    "safety": {"recall": 1.0, "false_positive_rate": 0.0},
}


def failed(quality: dict[str, Any], *losses: float) -> list[str]:
    gates = quality_gates(quality, [{"train_loss": loss} for loss in losses], load_config().validate_)
    assert all_passed(gates) == all(gate.passed for gate in gates.values())
    return [name for name, gate in gates.items() if not gate.passed]


def test_noise_in_the_training_loss_of_a_long_run_passes_and_a_real_rise_fails() -> None:
    assert failed(QUALITY, 5.0, 4.2, 4.1003, 4.1007, 4.1001) == []
    assert failed(QUALITY, 5.0, 4.2, 4.5, 4.1) == ["train_loss_rise"]
    assert failed(QUALITY, 4.0, *(4.0 + 0.01 * n for n in range(1, 5))) == ["train_loss_rise"]
    assert failed(QUALITY, 4.0) == []


@pytest.mark.parametrize("missing", ["en", "es"])
def test_a_model_of_one_language_passes_whatever_it_writes_in_the_other(missing: Language) -> None:
    quality = copy.deepcopy(QUALITY)
    quality[missing] = {"repetition": 0.9, "right_language": 0.0}
    assert failed(quality, 5.0, 4.0) == []


def test_a_model_that_learned_only_how_frequent_tokens_are_fails() -> None:
    assert failed({**QUALITY, "baselines": {"unigram": 3.9}}, 5.0, 4.0) == ["unigram_loss"]
