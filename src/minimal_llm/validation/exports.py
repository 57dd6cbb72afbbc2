"""Validation of the exported model: what it costs to run, and its loss."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.files import write_bytes
from minimal_llm.export.onnx import graph, int8
from minimal_llm.export.source import load_source
from minimal_llm.inference.benchmark import Measurement, measure_in_fresh_process
from minimal_llm.inference.generation import Decoder
from minimal_llm.inference.onnx_decoder import OnnxDecoder
from minimal_llm.tokenizer.token_files import Ids

FORMATS = {"onnx": graph.files, "onnx-int8": int8.files}
WINDOWS = 128  # windows of validation text, evenly spaced; fewer if they are long:
TOKENS = 16_384  # in all windows together; decoding them one by one takes time, and their keys and values memory
BATCH = 32


@dataclass(frozen=True)
class Export:
    """An exported model: its loss on a sample of the validation text in nats per token, and what it costs to run."""

    loss: float
    cost: Measurement


def measure_exports(inputs: Artifacts, tokens: Ids) -> dict[str, Export]:
    """Export the model in each format and return the measurements by format; `tokens` is the validation split."""
    measured = {}
    source = load_source(inputs.best_model, inputs.tokenizer_model)
    with tempfile.TemporaryDirectory() as scratch:
        for name, files in FORMATS.items():
            folder = Path(scratch) / name
            for file, content in files(source).items():
                write_bytes(folder / file, content)
            loss = decoder_loss(OnnxDecoder(folder / "model.onnx", threads=1), tokens)
            measured[name] = Export(loss, measure_in_fresh_process(folder / "model.onnx"))
    return measured


def decoder_loss(decoder: Decoder, tokens: Ids) -> float:
    """Return the mean cross-entropy, in nats per token, over at most WINDOWS windows as long as the decoder's context.

    The windows are decoded token by token, as on a device, so the loss includes all rounding of the runtime.
    """
    length = min(decoder.context, len(tokens))
    count = min(WINDOWS, max(1, TOKENS // length), len(tokens) // length)
    starts = np.arange(count) * (len(tokens) // count)
    windows = np.stack([tokens[start : start + length] for start in starts]).astype(np.int64)  # (count, T)
    nats = sum(_batch_nats(decoder, windows[first : first + BATCH]) for first in range(0, count, BATCH))
    return nats / (count * (length - 1))


def _batch_nats(decoder: Decoder, windows: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    nats = 0.0
    logits = decoder.start(windows[:, :1].tolist())
    for position in range(1, windows.shape[1]):
        targets = windows[:, position]
        largest = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
        nats += float((total - logits[np.arange(len(targets)), targets]).sum(dtype=np.float64))
        if position < windows.shape[1] - 1:
            logits = decoder.advance(targets.tolist())
    return nats
