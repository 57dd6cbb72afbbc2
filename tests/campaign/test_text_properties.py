"""Decoding and cleaning of any bytes and any text: what the targets of the fuzzer promise, on random examples."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from minimal_llm.corpus.cleaning import clean_book, split_paragraphs
from minimal_llm.corpus.language_detection import detect_language
from tests.campaign.fuzz_targets_text import FRAGMENTS, TARGETS
from tests.support.campaign import Count
from tests.support.stages import ROOT

EXAMPLES = [25, pytest.param(1000, marks=pytest.mark.long)]
MARKUP = st.sampled_from(range(128, 128 + len(FRAGMENTS)))
DATA = st.binary(max_size=300) | st.lists(MARKUP | st.integers(32, 126), max_size=80).map(bytes)
PROSE = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1, max_size=20).map(
    lambda words: " ".join(" ".join(words).split())
)

WITHSTOOD = {
    "charset": ("random bytes as a text file", "a text in NFC without control characters, or refused with a remedy"),
    "formats": ("random bytes and markup: what format is it", "one format or none, no crash"),
    "boilerplate": ("random mixtures of Project Gutenberg's markers", "what is left is part of the text"),
    "cleaning": ("random mixtures of prose and transcribers' markup", "clean paragraphs, or refused as a license"),
    "framed_book": ("random words in a book of each style", "the book as it was, without header and license"),
    "own_file": ("random bytes and markup as a file of your own", "clean paragraphs, or exit 2 naming the file"),
}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", TARGETS)
def test_random_input_is_cleaned_or_refused(name: str, examples: int, random: Random, count: Count) -> None:
    runs = 0

    @seed(random.getrandbits(32))
    @settings(max_examples=examples, deadline=None, database=None)
    @given(DATA)
    def check(data: bytes) -> None:
        nonlocal runs
        runs += 1
        TARGETS[name](data)

    check()
    count("Input", *WITHSTOOD[name], runs)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_cleaning_prose_twice_changes_nothing(examples: int, random: Random, count: Count) -> None:
    runs = 0

    @seed(random.getrandbits(32))
    @settings(max_examples=examples, deadline=None, database=None)
    @given(st.lists(PROSE.filter(bool), min_size=1, max_size=8))
    def check(paragraphs: list[str]) -> None:
        nonlocal runs
        runs += 1
        text = "\n\n".join(paragraphs)
        assert clean_book(text) == split_paragraphs(text) == paragraphs
        assert detect_language(text) in (None, detect_language(f"{text}\n{text}"))  # more of it is more evidence

    check()
    count("Input", "cleaning a text that is clean", "the same paragraphs", runs)


@pytest.mark.long
def test_a_fuzzer_finds_nothing(tmp_path: Path, random: Random, count: Count) -> None:
    if importlib.util.find_spec("atheris") is None:
        runs = 1000
        for _ in range(runs):
            data = random.randbytes(random.randrange(200))
            for target in TARGETS.values():
                target(data)
        runs *= len(TARGETS)
    else:
        names, limits = ",".join(TARGETS), ["-max_total_time=20", f"-seed={random.getrandbits(31)}"]
        done = subprocess.run(
            [sys.executable, "-m", "tests.campaign.fuzz", names, *limits, f"-artifact_prefix={tmp_path}/"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found = re.search(r"Done (\d+) runs", done.stderr)
        assert found
        runs = int(found[1])
    count("Input", "a fuzzer at decoding and cleaning", "nothing found", runs)
