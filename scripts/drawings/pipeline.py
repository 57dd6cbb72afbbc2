"""The drawing of the pipeline: its stages, and the files between them, with their sizes in the reference run."""

from __future__ import annotations

from scripts.drawings.svg import Drawing, Theme
from scripts.figures import Results

WIDTH, HEIGHT = 560, 526
EDGE, INSET = 4, 16  # from a card to the edge of the picture, and to its text
CARD, ARROW = 62, 52  # heights
STAGE = 104  # the width of a stage
LAST = WIDTH / 2 + 6  # x of the second card of the last row


def draw(theme: Theme, results: Results) -> str:
    """Return the drawing as SVG."""
    params, tokenizer, train = results["params"], results["tokenizer"], results["train"]
    minutes = results["train_speed"]["total_seconds"] / 60
    size = results["inference"]["onnx"]["model_file_mb"]
    checks = len(results["validation"]["gates"]) + len(results["inference"]["gates"])
    megabytes = params["download"]["megabytes_per_language"]
    name = params["tokenizer"]["name"]
    picture = Drawing(
        theme,
        WIDTH,
        HEIGHT,
        "The pipeline",
        "Books become a corpus (stage download), the corpus a tokenizer and token ids (stage tokenizer), these a model "
        "(stage train), and the model a report (stage validate) or an export.",
    )
    rows = [
        ("books", "public domain, in English and Spanish", "data/raw/"),
        ("corpus", f"{megabytes:g} MB of clean text per language", "data/corpus_bilingual.txt"),
        (
            "tokenizer and token ids",
            f"{tokenizer['train_tokens']:,} to train on, {tokenizer['val_tokens']:,} to validate",
            f"data/{name}.model",
        ),
        ("model", f"{train['parameters']:,} parameters, {size:.1f} MB", "data/best_model.pt"),
    ]
    stages = [
        ("download", "fetches and cleans"),
        ("tokenizer", f"learns {tokenizer['vocab_size']:,} tokens, encodes the text"),
        ("train", f"{train['epochs']} epochs in {minutes:.1f} minutes"),
    ]
    y = float(EDGE)
    for row, content in enumerate(rows):
        _card(picture, EDGE, y, WIDTH - 2 * EDGE, *content)
        if row < len(stages):
            _stage(picture, EDGE, y + CARD, *stages[row])
        y += CARD + ARROW
    _stage(picture, EDGE, y - ARROW, "validate", f"{checks} checks")
    _stage(picture, LAST, y - ARROW, "export", "on request")
    width = WIDTH - EDGE - LAST
    _card(picture, EDGE, y, width, "report", "loss, samples, speed", "data/report.md")
    _card(picture, LAST, y, width, "exports", "ONNX, GGUF, HTML …", "export/")
    return picture.svg()


def _card(picture: Drawing, x: float, y: float, width: float, name: str, size: str, file: str) -> None:
    picture.box(x, y, width, CARD, radius=8)
    picture.text(x + INSET, y + 26, name, 16, weight=700)
    picture.text(x + INSET, y + 48, size, 15, picture.theme.muted)
    picture.text(x + width - INSET, y + 26, file, 13, picture.theme.muted, "end", family="mono")


def _stage(picture: Drawing, x: float, y: float, name: str, action: str) -> None:
    middle = x + INSET + STAGE / 2
    picture.arrow([(middle, y), (middle, y + ARROW)], picture.theme.blue, 2)
    picture.box(x + INSET, y + 9, STAGE, 28, picture.theme.paper, picture.theme.blue, 14)
    picture.text(middle, y + 28, name, 15, picture.theme.blue, "middle", 700, "mono")
    picture.text(x + INSET + STAGE + 12, y + 28, action, 15)
