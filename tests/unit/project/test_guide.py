"""docs/TRAINING_GUIDE.md is a course of ten sections of one form, and docs/GLOSSARY.md has its terms."""

from __future__ import annotations

import re

import pytest

from tests.support.stages import ROOT

TEXT = (ROOT / "docs" / "TRAINING_GUIDE.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))  # text by heading


def part(section: str, heading: str) -> str:
    """The text below a heading within a section."""
    return re.split(r"^### ", section.partition(f"### {heading}\n")[2], flags=re.MULTILINE)[0]


def test_the_guide_has_ten_numbered_sections() -> None:
    assert [heading.partition(".")[0] for heading in SECTIONS] == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_an_aim_a_picture_code_to_run_five_questions_and_two_exercises(heading: str) -> None:
    section = SECTIONS[heading]
    assert section.lstrip().startswith("*Aim:")
    assert "<picture>" in section or "![" in section or "```text" in section
    assert re.search(r"^```(python|sh)$", section, re.MULTILINE)
    questions, exercises = part(section, "Questions"), part(section, "Exercises")
    results = " ".join(exercises.split()).count("*You should see*")
    assert len(re.findall(r"^\d\. ", questions, re.MULTILINE)) == 5
    assert questions.count("<details><summary>Answer</summary>") == questions.count("</details>") == 5
    assert len(re.findall(r"^\d\. ", exercises, re.MULTILINE)) == 2 <= results


def test_each_entry_of_troubleshooting_is_in_its_index_and_the_checklist_is_complete() -> None:
    section = SECTIONS["8. Troubleshooting"]
    index = section.partition("\n### ")[0]
    links = set(re.findall(r"\]\(#([^)]+)\)", index))
    headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
    entries = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert entries - links == {"exit-codes", "questions", "exercises"}
    assert len(links) >= 25
    assert len(re.findall(r"^\d+\. ", part(SECTIONS["10. Deployment"], "Before you share it"), re.MULTILINE)) >= 14


def test_the_glossary_is_in_alphabetical_order_and_each_section_that_it_names_has_the_term() -> None:
    by_number = {heading.partition(".")[0]: text.lower() for heading, text in SECTIONS.items()}
    joined = re.sub(r"\n {2}", " ", GLOSSARY.partition("## Terms\n")[2].partition("## References")[0])
    terms = re.findall(r"^- \*\*(.+?)\*\* \((?:[^;()]+; )?\[(\d+|architecture)\]\(", joined, re.MULTILINE)
    assert len(terms) == joined.count("\n- **") >= 50
    names = [name.lower().replace("-", " ") for name, _ in terms]
    assert names == sorted(names)
    explained = [(words, number) for name, number in terms if number in by_number for words in name.lower().split(", ")]
    assert not [(words, number) for words, number in explained if words not in by_number[number]]


def test_each_source_that_is_named_is_in_the_references() -> None:
    references = GLOSSARY.partition("## References")[2]
    source = r"\b([A-Z][a-z]+)(?: et al\.| and [A-Z][a-z]+)? \(?((?:19|20)\d\d)\b"
    named = set(re.findall(source, " ".join(TEXT.split())))
    assert len(named) > 20
    missing = {one for one in named if not re.search(r"^- {}\b.*\b{}\.".format(*one), references, re.MULTILINE)}
    assert not missing
