"""Section 9 of docs/TRAINING_GUIDE.md against params.yaml and config.py, and its glossary against its sections."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from minimal_llm.common.config import Config, describe_range, flatten, load_config
from tests.support.stages import ROOT

PARAMS = ROOT / "params.yaml"
GUIDE = ROOT / "docs" / "TRAINING_GUIDE.md"
TEXT = GUIDE.read_text(encoding="utf-8") if GUIDE.exists() else ""
KEYS = sorted(flatten(load_config(PARAMS)))
OF_NO_RANGE = {  # what else may stand there, where config.py knows no list and no bounds
    "download.books.en": "a list of ids",
    "download.books.es": "a list of ids",
    "download.files": "a list of paths",
    "tokenizer.name": "letters, digits, `-`, `_`",
    "train.init_from": "any text",
    "train.extend_from": "any text",
}

pytestmark = pytest.mark.skipif(not TEXT, reason=f"{GUIDE.relative_to(ROOT)} is not written yet")


def sections() -> dict[str, str]:
    """The text of each section by its heading."""
    parts = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries() -> dict[str, tuple[str, str]]:
    """Range and default of each hyperparameter, as the tables of section 9 show them."""
    rows = re.findall(
        r"^\| `([a-z0-9_.]+)` \| (.+?) \| `(.*?)` \| .+\|$", sections()["9. Hyperparameters"], re.MULTILINE
    )
    assert len(rows) == len({row[0] for row in rows}), "a key has two entries"
    return {key: (allowed, default) for key, allowed, default in rows}


def range_in_config(key: str) -> str:
    """What config.py allows, in the words of the guide."""
    if key in OF_NO_RANGE:
        return OF_NO_RANGE[key]
    annotation: Any = Config
    for part in key.split("."):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        annotation = fields[part].annotation
    words = []
    if annotation is bool:
        words = ["`true`", "`false`"]
    for choice in (annotation, *get_args(annotation)):
        if get_origin(choice) is Literal:
            words += [f"`{value}`" for value in get_args(choice)]
    bounds = (
        describe_range(key).replace("at least ", "").replace(" and at most ", " to ").replace(" and below", " to below")
    )
    return ", ".join([*words, bounds] if bounds else words).replace("above 0 to", "above 0, to")


def with_plain_numbers(text: str) -> str:
    """1,000 and 0.00001 as Python spells them, so that a table may have them as readers like them."""
    return re.sub(r"[\d.,e+-]*\d", lambda found: f"{float(found[0].replace(',', '')):.10g}", text)


def default_in_file(key: str) -> str:
    value: Any = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    for part in key.split("."):
        value = value[part]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and value:
        return ", ".join(map(str, value))
    return str(value) or "''"


def test_every_hyperparameter_has_its_entry_and_there_are_no_others() -> None:
    assert sorted(entries()) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_has_the_range_of_config_and_the_default_of_the_file(key: str) -> None:
    allowed, default = entries()[key]
    assert with_plain_numbers(allowed) == with_plain_numbers(range_in_config(key))
    assert default == default_in_file(key)


def test_the_glossary_is_in_alphabetical_order_and_each_section_that_it_names_has_the_term() -> None:
    by_number = {heading.split(".")[0]: text.lower() for heading, text in sections().items()}
    joined = re.sub(r"\n {2}", " ", sections()["Glossary"])
    terms = re.findall(r"^- \*\*(.+?)\*\* \(\[(\d+)\]\(#.*?\)\)\. (.+)$", joined, re.MULTILINE)
    assert len(terms) >= 50
    assert len(terms) == joined.count("\n- **")
    names = [name.lower().replace("-", " ") for name, _, _ in terms]
    assert names == sorted(names)
    missing = []
    for name, number, _ in terms:
        words = re.sub(r"\(.*\)", "", name).lower().split(", ")
        missing += [f"{word.strip()} in {number}" for word in words if word.strip() not in by_number.get(number, "")]
    assert not missing
