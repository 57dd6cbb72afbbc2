"""Files that are cut off, have flipped bits or are of another kind: refused by name, or read as they were."""

from __future__ import annotations

import io
import resource
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from rich.console import Console

from minimal_llm.cli import model as model_commands
from minimal_llm.cli.main import main
from minimal_llm.common.config import PARAMS, load_config
from minimal_llm.common.errors import MinimalLlmError
from minimal_llm.common.live_log import LOG_NAME, read_events
from minimal_llm.common.unfinished_runs import unfinished_runs
from minimal_llm.corpus.manifest import read_corpus
from minimal_llm.experiments.live_runs import LiveRun, Row, table
from minimal_llm.inference.onnx_decoder import OnnxDecoder
from minimal_llm.inference.runtime import load_runtime
from minimal_llm.model.model_file import load_model
from minimal_llm.pipeline.status import StatusFile
from minimal_llm.pipeline.status_table import _status_table
from minimal_llm.tokenizer.token_files import read_tokens
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.training.checkpoint import Checkpoints
from minimal_llm.training.train import check_tokenizer
from tests.campaign.fuzz_targets_files import RUN, SHAPE, Kit, make_kit, with_records
from tests.support.campaign import Count
from tests.support.stages import ROOT, copy_folder, run_program
from tests.support.training_runs import Malicious, refusal, torch_bytes

KILOBYTE = 1024
HEADER = 64  # bytes of which every bit is flipped
MEMORY = 200_000  # kilobytes that reading damaged files of 50 KB may add to the process, in all
HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>Not here</body></html>"


class Read(NamedTuple):
    """A file of a kit, what reads it as users do, and the exit codes of a refusal; none if damage is passed over."""

    path: Callable[[Kit], Path]
    content: Callable[[Kit], Any]
    codes: tuple[int, ...]
    outcome: str


def _model(kit: Kit) -> Any:
    loaded = load_model(kit.files.best_model)
    return loaded.model.state_dict(), loaded.model.architecture, loaded.tokenizer_sha256, loaded.version


def _checkpoint(kit: Kit) -> Any:
    printed = io.StringIO()
    with redirect_stderr(printed):
        state = Checkpoints(kit.files.checkpoints, RUN).newest()
    if state is None:
        assert "warning: skipping checkpoint step_00000003.pt: " in printed.getvalue()
    return state and vars(state)


def _tokens(kit: Kit) -> Any:
    tokens = read_tokens(kit.files.tokens)
    return tokens.train.tolist(), tokens.val.tolist(), tokens.meta, dict(tokens.sha256)


def _tokenizer(kit: Kit) -> Any:
    tokenizer = Tokenizer.load(kit.files.tokenizer_model)
    check_tokenizer(read_tokens(kit.files.tokens), tokenizer)
    return tokenizer.model


def _exported(path: Path) -> Any:
    decoder = OnnxDecoder(path, threads=1)
    return decoder.start([[1, 2, 3]]).tolist(), decoder.metadata


def _info(kit: Kit) -> Any:
    printed = io.StringIO()
    with redirect_stdout(printed):
        model_commands.info(Namespace(model=kit.files.best_model, json=True))
    return printed.getvalue()


def _live(kit: Kit) -> Any:
    run = LiveRun.of(kit.checkpoint.parent, read_events(kit.checkpoint.parent / LOG_NAME))
    if run is not None:
        Console(file=io.StringIO()).print(table([Row("x", "running", run)], 24), run.seconds_left)


def _status(kit: Kit) -> Any:
    record = StatusFile(kit.files.status).read()
    if record:
        Console(file=io.StringIO()).print(_status_table(record), record["error"])


def _unfinished(kit: Kit) -> Any:
    unfinished_runs(kit.files.checkpoints, load_config(ROOT / PARAMS))


REFUSED = "refused with the path and the command that makes it anew; or the damage changes nothing that is read"
PASSED_OVER = "shown as far as it is whole, or treated as missing"
FILES = {
    "best_model.pt": Read(lambda kit: kit.files.best_model, _model, (5,), REFUSED),
    "a checkpoint": Read(lambda kit: kit.checkpoint, _checkpoint, (), "skipped with a warning; the one before is used"),
    "tokens/train.bin": Read(lambda kit: kit.files.tokens / "train.bin", _tokens, (4,), REFUSED),
    "tokens/val.bin": Read(lambda kit: kit.files.tokens / "val.bin", _tokens, (4,), REFUSED),
    "tokens/meta.json": Read(lambda kit: kit.files.tokens / "meta.json", _tokens, (4,), REFUSED),
    "the tokenizer": Read(lambda kit: kit.files.tokenizer_model, _tokenizer, (3, 4), "refused, or both hashes told"),
    "an ONNX export": Read(lambda kit: kit.onnx, lambda kit: _exported(kit.onnx), (5,), REFUSED),
    "an int8 ONNX export": Read(lambda kit: kit.int8, lambda kit: _exported(kit.int8), (5,), REFUSED),
    "corpus_bilingual.txt": Read(lambda kit: kit.files.corpus, lambda kit: read_corpus(kit.files), (2,), REFUSED),
    "corpus_manifest.json": Read(
        lambda kit: kit.files.corpus_manifest, lambda kit: read_corpus(kit.files), (2,), REFUSED
    ),
    "training_metrics.json": Read(lambda kit: kit.files.training_metrics, _info, (5,), REFUSED),
    "run.json": Read(lambda kit: kit.checkpoint.with_name("run.json"), _unfinished, (), PASSED_OVER),
    "the live log": Read(lambda kit: kit.checkpoint.with_name(LOG_NAME), _live, (), PASSED_OVER),
    "pipeline_status.json": Read(lambda kit: kit.files.status, _status, (), PASSED_OVER),
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"))


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit flipped."""
    at, bit = divmod(bit, 8)
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def bits(content: bytes, random: Random, count: int) -> Iterator[bytes]:
    """The content with one flipped bit: every one of the header and of the end, and `count` others."""
    size = 8 * len(content)
    ends = {*range(min(8 * HEADER, size)), *range(max(0, size - 8 * HEADER), size)}
    chosen = ends if count > HEADER else random.sample(sorted(ends), 4)
    for bit in [*chosen, *(random.randrange(size) for _ in range(count))]:
        yield flipped(content, bit)


def foreign(kit: Kit, path: Path) -> Iterator[bytes]:
    """What a file of another kind has under this name."""
    yield from (b"", b"\0" * 5000, HTML, b"[" * 100_000, b'{"a":' * 100_000, b"{}", b"[]", b"null", b"\xff" * 100)
    files = kit.files
    for other in (files.best_model, kit.onnx, files.corpus, files.tokenizer_model, files.training_metrics):
        if other != path and (other.suffix != path.suffix or path.suffix == ".json"):
            yield other.read_bytes()


def equal(one: Any, other: Any) -> bool:
    """Whether two results of a reader are the same."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, tuple) and type(one) is tuple:
        return isinstance(other, tuple) and all(map(equal, one, other))
    return bool(one == other)


def listing(kit: Kit) -> dict[Path, int]:
    """All files of a kit with their times of change, and the folder that it is in."""
    paths = (*kit.files.root.parent.iterdir(), *kit.files.root.rglob("*"))
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}


def withstand(kit: Kit, name: str, contents: Iterator[bytes], *, harmless: bool = True) -> int:
    """Have a file read with each of some contents; return how many. `harmless`: a reader may see what it saw before."""
    read = FILES[name]
    path = read.path(kit)
    intact, expected = path.read_bytes(), read.content(kit) if harmless else object()
    before, memory, rounds = listing(kit), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    try:
        for content in contents:
            rounds += 1
            path.write_bytes(content)
            with redirect_stderr(io.StringIO()):
                check(kit, read, expected)
    finally:
        path.write_bytes(intact)
    assert {other for other, time in listing(kit).items() if before.get(other) != time} <= {path}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEMORY
    return rounds


def check(kit: Kit, read: Read, expected: Any) -> None:
    """Have a file read, and check that it is refused, passed over or as expected."""
    refused = content = None
    try:
        content = read.content(kit)
    except MinimalLlmError as error:
        refused = error
    if refused is None:
        assert content is None or equal(content, expected), "damage that nobody noticed"
    else:
        path = read.path(kit)
        assert refused.exit_code in read.codes, refused
        assert str(path) in refused.message or path.suffix == ".model", refused
        assert refused.remedy


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_are_noticed(kit: Kit, name: str, random: Random, count: Count) -> None:
    content = FILES[name].path(kit).read_bytes()
    rounds = withstand(kit, name, bits(content, random, 8))
    count("Damaged files", f"a flipped bit in {name}", FILES[name].outcome, rounds)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_of_the_header_and_the_end_and_hundreds_between_are_noticed(
    kit: Kit, name: str, random: Random, count: Count
) -> None:
    content = FILES[name].path(kit).read_bytes()
    rounds = withstand(kit, name, bits(content, random, 400))
    assert rounds >= 400
    count("Damaged files", f"a flipped bit in {name}", FILES[name].outcome, rounds)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_at_any_kilobyte_is_noticed(kit: Kit, name: str, random: Random, count: Count) -> None:
    content = FILES[name].path(kit).read_bytes()
    places = [0, *random.sample(range(len(content)), 2), len(content) - 1]
    rounds = withstand(kit, name, (content[:place] for place in places))
    count("Damaged files", f"{name} cut off", FILES[name].outcome, rounds)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_at_every_kilobyte_is_noticed(kit: Kit, name: str, count: Count) -> None:
    content = FILES[name].path(kit).read_bytes()
    step = KILOBYTE if len(content) > 100 * KILOBYTE else 100
    rounds = withstand(kit, name, (content[:at] for at in range(0, len(content), step)))
    count("Damaged files", f"{name} cut off", FILES[name].outcome, rounds)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_refused(kit: Kit, name: str, count: Count) -> None:
    rounds = withstand(kit, name, foreign(kit, FILES[name].path(kit)), harmless=False)
    count("Damaged files", f"something else under the name of {name}", FILES[name].outcome, rounds)


def rewritten(kit: Kit, **changes: Any) -> bytes:
    """The model file with other entries, and checksums that fit."""
    return torch_bytes({**torch.load(kit.files.best_model, weights_only=True), **changes})


def test_a_model_file_made_to_take_memory_or_to_run_code_is_refused(kit: Kit, tmp_path: Path, count: Count) -> None:
    shape = vars(SHAPE)
    intact = kit.files.best_model.read_bytes()
    bomb = with_records(intact, {"data/0": b"\0" * 10_000_000})
    contents = [rewritten(kit, architecture={**shape, key: size}) for key in shape for size in (-1, 0, 2**40, "8", 2.5)]
    contents += [rewritten(kit, architecture={**shape, key: 2**20}) for key in shape if key != "max_seq_length"]
    contents.append(rewritten(kit, architecture={**shape, "heads": 3}))
    contents += [rewritten(kit, model_version=Malicious(tmp_path / "executed")), rewritten(kit, weights=None), bomb]
    # A tensor that repeats one number in memory: two billion numbers in a file of a few bytes
    contents.append(rewritten(kit, weights={"embedding.weight": torch.zeros(1).expand(2**20, 2**11)}))
    rounds = withstand(kit, "best_model.pt", iter(contents), harmless=False)
    assert not (tmp_path / "executed").exists()
    count("Damaged files", "a model file made to take memory or to run code", REFUSED, rounds)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_no_reason_to_invent_a_token(value: float) -> None:
    from minimal_llm.inference.sampling import Sampler, Sampling

    logits = np.zeros(300, np.float32)
    logits[7 if value != -np.inf else slice(None)] = value
    for sampling in (Sampling(), Sampling(temperature=0), Sampling(top_p=0.5), Sampling(min_p=0.1)):
        with pytest.raises(MinimalLlmError, match="the model scores token"):
            Sampler(sampling).choose(logits, [])


def test_a_damaged_file_ends_the_stage_that_reads_it_and_leaves_the_rest(
    trained_folder: Path, tmp_path: Path, random: Random, count: Count
) -> None:
    reads = {"tokens/train.bin": "train", "tokens/meta.json": "train", "best_model.pt": "validate"}
    reads |= {"training_metrics.json": "validate", "plots/steps.csv": "validate", "corpus_manifest.json": "validate"}
    folder = copy_folder(trained_folder, tmp_path)
    for name, stage in reads.items():
        path = folder / name
        intact = path.read_bytes()
        path.write_bytes(flipped(intact, random.randrange(8 * len(intact) // 10, 8 * len(intact) * 9 // 10)))
        error = refusal(stage, folder)
        assert str(path) in error.message
        assert error.exit_code in (2, 4, 5)
        path.write_bytes(intact)
    count(
        "Damaged files",
        "a flipped bit, met by a stage",
        "exit 2, 4 or 5, names the file; nothing else changes",
        len(reads),
    )


def test_the_commands_refuse_a_damaged_model_and_write_nothing(
    kit: Kit, capsys: pytest.CaptureFixture[str], tmp_path: Path, count: Count
) -> None:
    rounds = 0
    for path in (kit.files.best_model, kit.onnx):
        intact = path.read_bytes()
        path.write_bytes(flipped(intact, 4 * len(intact)))
        for command in (["generate", "x"], ["info"], ["export", "--format", "gguf", "-o", str(tmp_path / "out")]):
            assert main([*command, "--model", str(path)]) == 5
            told = capsys.readouterr()
            assert f"error: {path} is damaged" in told.err
            assert "What to do: " in told.err
            assert not told.out
            rounds += 1
        path.write_bytes(intact)
    assert not (tmp_path / "out").exists()
    count("Damaged files", "a damaged model given to generate, info and export", "exit 5, names the file", rounds)


def test_an_intact_export_runs(kit: Kit) -> None:
    assert load_runtime(kit.onnx.parent, 1).engine == "onnx"


@pytest.mark.long
def test_the_command_in_a_process_of_its_own_prints_no_traceback(kit: Kit, count: Count) -> None:
    for path in (kit.files.best_model, kit.int8, kit.files.tokenizer_model):
        intact = path.read_bytes()
        path.write_bytes(intact[: len(intact) // 2])
        model = kit.files.best_model if path.suffix == ".model" else path
        done = run_program("minimal-llm", "generate", "x", "--model", str(model), code=5)
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr
        path.write_bytes(intact)
    count("Damaged files", "half a model or tokenizer given to generate", "exit 5, names the file", 3)
