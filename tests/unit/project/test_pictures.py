"""The pictures of the documents: there, up to date, small, and such that they can be read."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from scripts import pictures
from scripts.drawings import cast, inside
from scripts.drawings.svg import LIGHT, THEMES, Theme
from scripts.figures import documents

from minimal_llm.model.transformer import Architecture, Block, TinyTransformer
from tests.support.stages import ROOT

SHOWN = re.compile(r"!\[[^\]]*\]\(([^)\s]+)|<(?:img|source)\b[^>]*?\b(?:src|srcset)=\"([^\"]+)\"")
MOST_BYTES = {"cast": 200_000}
SHORTEST, LONGEST = 15, 20  # seconds of the cast


@pytest.mark.parametrize("name", pictures.DRAWINGS)
def test_a_drawing_is_that_of_the_committed_results(name: str) -> None:
    for path, content in pictures.files(name).items():
        drawn = path.read_text(encoding="utf-8") if path.exists() else ""
        assert drawn == content, f"what {path.name} shows has changed: python scripts/pictures.py {name}"


@pytest.mark.parametrize("name", pictures.DRAWINGS)
def test_a_drawing_is_small_and_complete_in_itself(name: str) -> None:
    for path, content in pictures.files(name).items():
        assert len(content.encode()) < MOST_BYTES.get(name, 100_000), path
        rest = content.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"<script|<image|<foreignObject|href|https?:|url\((?!#)|@import|@font-face", rest), path


def test_a_photograph_is_small_and_there_is_one_for_each_scheme() -> None:
    for theme in THEMES:
        assert 10_000 < (pictures.PICTURES / f"page{theme.suffix}.png").stat().st_size < 150_000


def test_a_picture_that_a_document_shows_exists() -> None:
    missing, found = [], 0
    for document in documents(ROOT):
        for match in SHOWN.finditer(document.read_text(encoding="utf-8")):
            address = match[1] or match[2]
            if re.match(r"https?:", address):
                continue
            found += 1
            if not (document.parent / address).is_file():
                missing.append(f"{document.relative_to(ROOT)}: {address}")
    assert not missing
    assert found


def luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.suffix or "light")
def test_text_has_the_contrast_that_wcag_asks_for(theme: Theme) -> None:
    for ground in (theme.paper, theme.panel):
        for name in ("ink", "muted", "blue", "orange", "green", "purple"):
            darker, lighter = sorted((luminance(getattr(theme, name)), luminance(ground)))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{name} on {ground}"


def test_what_was_measured_inside_is_of_the_reference_model() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    (reference,) = (out["md5"] for out in lock["stages"]["train"]["outs"] if out["path"] == "data/best_model.pt")
    measured = json.loads(pictures.INSIDE.read_text(encoding="utf-8"))["model_md5"]
    assert measured == reference, "another model: python scripts/pictures.py --model data/best_model.pt"


def test_a_table_of_neighbours_in_a_document_is_the_measured_one() -> None:
    table = inside.table(json.loads(pictures.INSIDE.read_text(encoding="utf-8"))["neighbours"])
    for document in documents(ROOT):
        text = document.read_text(encoding="utf-8")
        assert (table.splitlines()[0] in text) == (table in text), f"{document.name} has another table than:\n{table}"


def test_the_recorded_log_is_of_the_reference_run() -> None:
    recorded = [text for _, text in cast.read_log(pictures.LOG)]
    losses = {int(found[1]): found[2] for text in recorded if (found := re.match(r"epoch +(\d+)/.* val (\S+)", text))}
    with (ROOT / "data" / "plots" / "history.csv").open(encoding="utf-8") as file:
        history = {int(row["epoch"]): float(row["val_loss"]) for row in csv.DictReader(file)}
    assert losses.keys() == history.keys()
    for epoch, loss in history.items():  # of the best epoch, history.csv has the loss in fp32
        assert float(losses[epoch]) == pytest.approx(loss, abs=0.002), (
            'a log of another run: python scripts/pictures.py --record "make train"'
        )


def test_the_cast_ends_with_what_a_reader_without_animations_sees() -> None:
    log = cast.read_log(pictures.LOG)
    drawn = cast.draw(LIGHT, log)
    assert "@media(prefers-reduced-motion:reduce){*{animation:none!important}}" in drawn
    for name in ("screen", "below", "clock"):
        last = re.findall(rf"@keyframes {name}{{.*?{{transform:([^}}]+)}}}}", drawn)[0]
        assert f".{name}{{transform:{last.rsplit('{transform:')[-1]};animation:{name} " in drawn
    assert SHORTEST <= float(re.findall(r"animation:screen (\d+\.\d)s", drawn)[0]) <= LONGEST
    first, final = (text for _, text in log if re.match(r"epoch +(1|20)/20", text))
    for line in (first, final):
        assert line[: line.index(" *")] in re.sub(r"<[^>]+>", "", drawn)


def test_a_run_is_recorded_with_its_times_and_a_failed_one_is_not(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    lines = (
        "import os, sys",
        "print(f'one {os.getcwd()}/data')",
        "print('  two', file=sys.stderr)",
        "sys.exit(len(sys.argv) - 1)",
    )
    program.write_text("\n".join(lines), encoding="utf-8")
    log = tmp_path / "log.txt"
    assert cast.record(f"{sys.executable} -u {program} failing", log) == 1
    assert not log.exists()
    assert cast.record(f"{sys.executable} -u {program}", log) == 0
    read = cast.read_log(log)
    assert [text for _, text in read] == [f"$ {sys.executable} -u {program}", "one data", "  two"]
    assert 0 == read[0][0] <= read[1][0] <= read[2][0] < 60


def test_measured_attention_is_what_the_model_computes_with() -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 50, "layers": 2, "d_model": 16, "heads": 2, "feed_forward": 24}
    model = TinyTransformer(Architecture(**shape, tie_embeddings=True, max_seq_length=12)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.randint(50, (3, 9))
    weights = inside.attention_weights(model, tokens)
    assert weights.shape == (2, 3, 2, 9, 9)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 2, 9))
    x = model.embedding(tokens)
    for layer, block in enumerate(part for part in model.blocks if isinstance(part, Block)):
        normed = block.attention_norm(x)
        v = block.attention.qkv(normed).view(3, 9, 3, 2, 8)[:, :, 2].transpose(1, 2)  # (B, H, T, D)
        output = (weights[layer] @ v).transpose(1, 2).reshape(3, 9, 16)
        expected = block.attention(normed, model.rotary[:9], None, layer)
        torch.testing.assert_close(block.attention.out(output), expected)
        x = block(x, model.rotary[:9], None, layer, None)
