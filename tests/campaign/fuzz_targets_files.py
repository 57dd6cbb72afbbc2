"""What a coverage-guided fuzzer feeds to the readers of files and to decoding: TARGETS, each a function of bytes.

A target returns for any bytes: what it calls reads them or raises a MinimalLlmError. Anything else is a fault.
"""

from __future__ import annotations

import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import PARAMS, TokenizerConfig, load_config, parse_config, read_params
from minimal_llm.common.errors import MinimalLlmError
from minimal_llm.common.files import read_record, sha256_of, write_bytes, write_sealed
from minimal_llm.common.live_log import LiveLog, read_events
from minimal_llm.common.unfinished_runs import describe_run, unfinished_runs
from minimal_llm.corpus.manifest import read_corpus
from minimal_llm.export.onnx import graph, int8
from minimal_llm.export.source import load_source
from minimal_llm.inference.generation import TextStream, decode_until_end
from minimal_llm.inference.onnx_decoder import OnnxDecoder
from minimal_llm.inference.sampling import Sampler, Sampling
from minimal_llm.model.model_file import load_model, save_model
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.pipeline.status import StatusFile
from minimal_llm.tokenizer.token_files import DTYPE, SPLITS, Span, TokenMeta, read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer
from minimal_llm.training.checkpoint import Checkpoints, Progress, State
from tests.support.stages import ROOT
from tests.support.token_files import write_tokens

RUN = "0" * 32
VOCABULARY = 300
SHAPE = Architecture(
    vocab_size=VOCABULARY, layers=1, d_model=16, heads=2, feed_forward=16, tie_embeddings=True, max_seq_length=16
)


@dataclass(frozen=True)
class Kit:
    """One small file of each kind, all that belong together, in a folder that targets overwrite."""

    files: Artifacts
    tokenizer: Tokenizer
    checkpoint: Path

    @property
    def onnx(self) -> Path:
        return self.files.root / "onnx" / "model.onnx"

    @property
    def int8(self) -> Path:
        return self.files.root / "int8" / "model.onnx"


def make_kit(folder: Path) -> Kit:
    """Write the files of a kit."""
    texts = [f"The {n} cats saw {n} dogs under the tree, y la niña comió {n} peras ayer." for n in range(200)]
    config = load_config(ROOT / PARAMS).tokenizer
    tokenizer = train_tokenizer(texts, TokenizerConfig.model_construct(**{**vars(config), "vocab_size": VOCABULARY}))
    files = Artifacts(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.tokenizer_model.write_bytes(tokenizer.model)
    ids = np.array(tokenizer.encode(" ".join(texts[:5])), dtype=DTYPE)
    spans = (Span(language="en", first=0, tokens=len(ids), bytes=300),)
    fields = {"source": "primer", "source_fallback": False, "tokenizer_sha256": tokenizer.sha256, "dtype": "uint16"}
    meta = TokenMeta.model_validate(
        {**fields, "vocab_size": VOCABULARY, "bos_id": 1, "eos_id": 2, "train": spans, "val": spans, "test": spans}
    )
    write_tokens(files.tokens, meta, dict.fromkeys(SPLITS, ids))
    torch.manual_seed(0)
    model = TinyTransformer(SHAPE)
    weights = dict(model.state_dict())
    save_model(files.best_model, model, tokenizer.sha256, weights)
    state = State(Progress(step=3), weights, {"state": {}}, weights, {})
    checkpoint = Checkpoints(files.checkpoints, RUN).save(state)
    kit = Kit(files, tokenizer, checkpoint)
    source = load_source(files.best_model, files.tokenizer_model)
    for path, exported in ((kit.onnx, graph.files(source)), (kit.int8, int8.files(source))):
        for name, content in exported.items():
            write_bytes(path.with_name(name), content)
    _write_corpus(files)
    _write_records(files)
    return kit


def _write_corpus(files: Artifacts) -> None:
    """Write a corpus of two documents with its manifest."""
    texts = {"en": "One day.\n", "es": "Un día.\n"}
    corpus = "\n".join(texts.values())
    sizes = {name: len(text.encode()) for name, text in texts.items()}
    facts = {"author": "", "encoding": "utf-8", "sha256": "0" * 64, "paragraphs": 1, "url": ""}
    documents = [
        {**facts, "id": name, "title": name, "language": name, "first_line": line, "last_line": line, "bytes": size}
        for line, (name, size) in zip((1, 3), sizes.items(), strict=True)
    ]
    told = {"source": "files", "requested_source": "files", "fallback": False, "reason": "", "documents": documents}
    told |= {
        "bytes_per_language": sizes,
        "total_bytes": sum(sizes.values()),
        "corpus_sha256": sha256_of(corpus.encode()),
    }
    files.corpus.write_text(corpus, encoding="utf-8")
    write_sealed(files.corpus_manifest, told)


def _write_records(files: Artifacts) -> None:
    """Write what a training run and the pipeline record."""
    final = dict.fromkeys(("parameters", "epochs", "best_epoch", "val_loss", "val_perplexity", "val_bits_per_byte"), 1)
    metrics = {"run_id": RUN, "corpus": {"source": "files", "fallback": False}, "final_metrics": final}
    write_sealed(files.training_metrics, metrics)
    config = load_config(ROOT / PARAMS)
    describe_run(files.checkpoints / RUN, config, 160)
    log = LiveLog(files.checkpoints / RUN)
    log.start(config, 160, 3200, 4096)
    row = {"epoch": 1, "step": 160, "train_loss": 5.0, "val_loss": 4.9, "learning_rate": 0.1, "samples": {"en": "One"}}
    log.epoch(row, 9.5, best=True)
    status = StatusFile(files.status)
    status.start_run(RUN, "dvc repro")
    status.finish_run(succeeded=True)


@functools.cache
def _kit() -> Kit:
    return make_kit(Path(tempfile.mkdtemp(prefix="minimal-llm-fuzz-")))


def with_records(archive: bytes, changed: dict[str, bytes]) -> bytes:
    """Return a zip archive with other content in some records, and checksums that fit: what a person could write."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            name = info.filename.partition("/")[2]
            new.writestr(info.filename, changed.get(name, old.read(info.filename)))
    return stream.getvalue()


def _read(path: Path, data: bytes, read: Callable[[], object]) -> None:
    intact = path.read_bytes()
    path.write_bytes(data)
    try:
        with suppress(MinimalLlmError):
            read()
    finally:
        path.write_bytes(intact)


def model_file(data: bytes) -> None:
    """A model file of any bytes."""
    kit = _kit()
    _read(kit.files.best_model, data, lambda: load_model(kit.files.best_model))


def model_pickle(data: bytes) -> None:
    """A model file whose description, a pickle, is any bytes with a checksum that fits."""
    path = _kit().files.best_model
    model_file(with_records(path.read_bytes(), {"data.pkl": data}))


def checkpoint(data: bytes) -> None:
    """A checkpoint of any bytes: skipped with a warning."""
    kit = _kit()
    _read(kit.checkpoint, data, Checkpoints(kit.files.checkpoints, RUN).newest)


def checkpoint_pickle(data: bytes) -> None:
    """A checkpoint whose description, a pickle, is any bytes with a checksum that fits."""
    checkpoint(with_records(_kit().checkpoint.read_bytes(), {"data.pkl": data}))


def token_meta(data: bytes) -> None:
    """A meta.json of any bytes."""
    kit = _kit()
    _read(kit.files.tokens / "meta.json", data, lambda: read_tokens(kit.files.tokens))


def token_ids(data: bytes) -> None:
    """A train.bin of any bytes."""
    kit = _kit()
    _read(kit.files.tokens / "train.bin", data, lambda: read_tokens(kit.files.tokens))


def onnx(data: bytes) -> None:
    """An exported model of any bytes."""
    kit = _kit()
    _read(kit.onnx, data, lambda: OnnxDecoder(kit.onnx, 1).start([[1, 2]]))


def tokenizer_model(data: bytes) -> None:
    """A tokenizer of any bytes."""
    kit = _kit()
    _read(kit.files.tokenizer_model, data, lambda: Tokenizer.load(kit.files.tokenizer_model).encode("Ana ve ☃"))


def manifest(data: bytes) -> None:
    """A manifest and a corpus: the bytes up to the first NUL, and those after it."""
    files = _kit().files
    described, _, text = data.partition(b"\0")
    files.corpus_manifest.write_bytes(described)
    files.corpus.write_bytes(text)
    with suppress(MinimalLlmError):
        read_corpus(files)


def decoding(data: bytes) -> None:
    """Token ids, two bytes each, decoded at once and one by one; and logits, sampled from."""
    tokenizer = _kit().tokenizer
    ids = np.frombuffer(data[: len(data) // 2 * 2], dtype=DTYPE).tolist()
    with suppress(MinimalLlmError):
        text = TextStream(tokenizer)
        _ = "".join(map(text.push, ids)) + text.finish()
        decode_until_end(tokenizer, ids)
        tokenizer.decode(ids)
    logits = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
    if len(logits):
        number = len(data)
        with suppress(MinimalLlmError):
            sampling = Sampling(temperature=number % 3 / 2, top_k=number % 50, top_p=number % 11 / 10)
            assert 0 <= Sampler(sampling).choose(logits, ids[:1] if ids and ids[0] < len(logits) else []) < len(logits)


def encoding(data: bytes) -> None:
    """A text of any characters: encoded and decoded without loss."""
    tokenizer = _kit().tokenizer
    text = data.decode("utf-8", errors="ignore")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text


def records(data: bytes) -> None:
    """Any bytes as a live log, as the status of a run, and as the description of an unfinished one."""
    kit = _kit()
    log = kit.files.root / "log.jsonl"
    log.write_bytes(data)
    read_events(log)
    read_record(log)
    StatusFile(log).read()
    (kit.checkpoint.parent / "run.json").write_bytes(data)
    unfinished_runs(kit.files.checkpoints, load_config(ROOT / PARAMS))


def parameters(data: bytes) -> None:
    """A params.yaml of any bytes."""
    path = _kit().files.root / "params.yaml"
    path.write_bytes(data)
    with suppress(MinimalLlmError):
        parse_config(read_params(path), {}, origin=str(path))


READERS: dict[str, Callable[[bytes], None]] = {
    "model file": model_file,
    "model pickle": model_pickle,
    "checkpoint": checkpoint,
    "checkpoint pickle": checkpoint_pickle,
    "token meta": token_meta,
    "token ids": token_ids,
    "onnx": onnx,
    "tokenizer model": tokenizer_model,
    "manifest": manifest,
}
DECODING: dict[str, Callable[[bytes], None]] = {
    "decoding": decoding,
    "encoding": encoding,
    "records": records,
    "parameters": parameters,
}


def one_of(targets: dict[str, Callable[[bytes], None]]) -> Callable[[bytes], None]:
    """Return a target that the first byte of its input chooses among several."""
    choices = list(targets.values())

    def chosen(data: bytes) -> None:
        if data:
            choices[data[0] % len(choices)](data[1:])

    return chosen


TARGETS: dict[str, Callable[[bytes], None]] = {
    "the readers of files": one_of(READERS),
    "decoding and records": one_of(DECODING),
}


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with: one intact file of each kind, behind the byte that chooses its reader."""
    kit = _kit()
    if target == "decoding and records":
        texts = [np.arange(300, dtype=DTYPE).tobytes(), "niña ▁ ☃ e\u0301".encode(), b'{"event": "start"}\n']
        texts.append((ROOT / PARAMS).read_bytes())
        return [bytes([number]) + text for number, text in enumerate(texts)]
    model, state = kit.files.best_model.read_bytes(), kit.checkpoint.read_bytes()
    described = json.dumps({"source": "primer", "documents": []}).encode()
    files = [model, _pickle_of(model), state, _pickle_of(state)]
    files += [(kit.files.tokens / name).read_bytes() for name in ("meta.json", "train.bin")]
    files += [kit.onnx.read_bytes(), kit.files.tokenizer_model.read_bytes(), described + b"\0One.\n"]
    return [bytes([number]) + content for number, content in enumerate(files)]


def _pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as records:
        return next(records.read(name) for name in records.namelist() if name.endswith("data.pkl"))
