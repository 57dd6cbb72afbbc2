"""Format html: one page with the model, its tokenizer, an engine and a view of how it works, for any browser.

The page is put together from the files in page/. It loads nothing and sends nothing: its content security policy allows
no connection, and no script or style other than those in it, which it names by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from minimal_llm.common.files import sha256_of
from minimal_llm.export.html.embedding_map import embedding_map
from minimal_llm.export.html.weights import pack_model, pack_tokenizer
from minimal_llm.export.model_card import LICENSE, Facts
from minimal_llm.export.source import Source
from minimal_llm.inference.safety.filter import read_data

PRECISIONS = ("int8", "fp32")
NAME = "minimal-llm-{}.html"
ENTRY = "main.js"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([^"]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:const|class|function\*?) (\w+)", re.MULTILINE)
MAPPED_TOKENS = 500
NOTE = """\
Open the HTML file in a browser: Chrome or Edge 92, Firefox 90, Safari 16.4 or newer, on a computer or a phone. It needs
no server, no network and nothing to install. The whole model is in it, so whoever gets the file can use it."""
USAGE = """\
import pathlib
import webbrowser

webbrowser.open(next(pathlib.Path().glob("minimal-llm-*.html")).resolve().as_uri())
"""


def files(source: Source, facts: Facts, precision: str) -> dict[str, bytes]:
    """Return the page by its name, which is that of the run; the same model and run give the same bytes."""
    description, weights = pack_model(source, precision)
    run = facts.run["run_id"] if facts.run else sha256_of(weights)
    tokenizer = pack_tokenizer(source.tokenizer)
    data = {
        "model": description,
        "tokenizer": tokenizer,
        "safety": {**read_data("rules.yaml"), "folds": _case_folds()},
        "map": _map(source, tokenizer),
        "run": _run(source, facts, run),
        "kernel": base64.b64encode((_folder() / "kernel.wasm").read_bytes()).decode(),
        "weights": base64.b64encode(weights).decode(),
    }
    return {NAME.format(run[:8]): render(data).encode()}


def render(data: Mapping[str, Any]) -> str:
    """Return the page with these data in blocks of their own."""
    modules: dict[str, str] = {}
    _collect(ENTRY, modules)
    style, script = _read("style.css"), "const modules = {};\n" + "".join(modules.values())
    policy = (
        "default-src 'none'; connect-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"script-src '{_hash(script)}' 'wasm-unsafe-eval'; style-src '{_hash(style)}'"
    )
    blocks = [
        f'<script type="application/json" id="data-{name}">{_json(content)}</script>' for name, content in data.items()
    ]
    parts = {"policy": policy, "style": style, "script": script, "data": "\n".join(blocks)}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _run(source: Source, facts: Facts, run: str) -> dict[str, Any]:
    """Return what is known of the model's training, ready for JSON; None for what is not."""
    manifest = facts.manifest
    return {
        "id": run,
        "known": facts.run is not None,
        "training": facts.run,
        "quality": facts.quality,
        "corpus": manifest and manifest.model_dump(mode="json"),
        "license": LICENSE[manifest.source] if manifest else None,
        "tokenizer": source.tokenizer.sha256,
    }


def _map(source: Source, packed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map of the most frequent tokens of a packed tokenizer: their ids and coordinates."""
    scores = np.frombuffer(base64.b64decode(packed["scores"]), "<f4")
    normal = np.array([kind == "n" for kind in packed["kinds"]])
    order = np.argsort(np.where(normal, -scores, np.inf), kind="stable")  # a score is a log probability, or a rank
    ids = np.sort(order[: min(MAPPED_TOKENS, int(normal.sum()))])
    places = embedding_map(source.weights["embedding.weight"][ids])
    return {"ids": ids.tolist(), "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}


def _case_folds() -> dict[str, str]:
    """Return the characters whose case folding differs from their lower case, which is all that JavaScript has."""
    everything = (chr(number) for number in range(0x110000))
    return {one: one.casefold() for one in everything if one.casefold() != one.lower()}


def _collect(name: str, modules: dict[str, str]) -> None:
    """Add a module, after those that it imports, as a function of its own that returns its exports.

    Imports and exports must have one of the two forms in the patterns.
    """
    if name in modules:
        return
    text = _read(name)
    for _, imported in IMPORT.findall(text):
        _collect(imported, modules)
    text = IMPORT.sub(r'const {\1} = modules["\2"];', text)
    exports = ", ".join(EXPORT.findall(text))
    text = EXPORT.sub(lambda found: found[0].removeprefix("export "), text)
    modules[name] = f'modules["{name}"] = (() => {{\n{text}return {{ {exports} }};\n}})();\n'


def _json(content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")  # no markup in a script element


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _folder() -> Any:
    return resources.files("minimal_llm.export.html") / "page"


def _read(name: str) -> str:
    text: str = (_folder() / name).read_text(encoding="utf-8")
    return text
