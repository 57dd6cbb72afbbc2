"""The glossary of docs/TRAINING_GUIDE.md against its sections."""

from __future__ import annotations

import re

import pytest

from tests.support.stages import ROOT

GUIDE = ROOT / "docs" / "TRAINING_GUIDE.md"
TEXT = GUIDE.read_text(encoding="utf-8") if GUIDE.exists() else ""

pytestmark = pytest.mark.skipif(not TEXT, reason=f"{GUIDE.relative_to(ROOT)} is not written yet")


def sections() -> dict[str, str]:
    """The text of each section by its heading."""
    parts = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


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
