"""The tokenizer, sampling, decoding and the options of generation, with any input at all."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minimal_llm.cli.main import main
from minimal_llm.common.errors import MinimalLlmError, TokenizerError, ValidationError
from minimal_llm.inference.generation import TextStream, decode_until_end
from minimal_llm.inference.sampling import Sampler, Sampling
from minimal_llm.tokenizer.tokenizer import Tokenizer
from tests.campaign.fuzz_targets_files import TARGETS, Kit, make_kit, seeds
from tests.support.campaign import Count

TEXTS = st.text(max_size=200) | st.text(alphabet="▁ \n\té́aA0\u200f\u0000", max_size=30)
IDS = st.lists(st.integers(-3, 310) | st.sampled_from([-(2**31), 2**31 - 1]), max_size=30)
LOGITS = arrays(np.float32, st.integers(1, 400), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
SAMPLING = st.builds(
    Sampling,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 500),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    repeat_penalty=st.floats(0.01, 100),
    repeat_last_n=st.integers(0, 100),
    seed=st.integers(0, 2**63 - 1),
)
ENOUGH = 3000  # examples of a long test


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("kit"))


def check_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert all(0 <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.decode(ids) == text
    stream = TextStream(tokenizer)
    assert "".join(map(stream.push, ids)) + stream.finish() == text


def check_ids(tokenizer: Tokenizer, ids: list[int]) -> None:
    if all(0 <= token < tokenizer.vocab_size for token in ids):
        assert isinstance(tokenizer.decode(ids), str)
        assert isinstance(decode_until_end(tokenizer, ids), str)
    else:
        with pytest.raises(TokenizerError, match="is outside the vocabulary of 300"):
            tokenizer.decode(ids)


def check_sampling(logits: np.ndarray[tuple[int], np.dtype[np.float32]], sampling: Sampling, stream: int) -> None:
    best = logits.max()
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            token = Sampler(sampling, stream).choose(logits, [stream % len(logits)])
    except ValidationError:
        assert not np.isfinite(best) or sampling.repeat_penalty != 1
    else:
        assert 0 <= token < len(logits)
        assert not np.isneginf(logits[token])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_text_any_ids_and_any_logits(kit: Kit, data: st.DataObject) -> None:
    check_text(kit.tokenizer, data.draw(TEXTS))
    check_ids(kit.tokenizer, data.draw(IDS))
    check_sampling(data.draw(LOGITS), data.draw(SAMPLING), data.draw(st.integers(0, 5)))


@pytest.mark.long
def test_thousands_of_texts_ids_and_logits(kit: Kit, count: Count) -> None:
    rounds = 0

    @settings(max_examples=ENOUGH, deadline=None)
    @given(TEXTS, IDS, LOGITS, SAMPLING, st.integers(0, 5))
    def check(
        text: str, ids: list[int], logits: np.ndarray[tuple[int], np.dtype[np.float32]], sampling: Sampling, stream: int
    ) -> None:
        nonlocal rounds
        rounds += 1
        check_text(kit.tokenizer, text)
        check_ids(kit.tokenizer, ids)
        check_sampling(logits, sampling, stream)

    check()
    count("Input", "any text to the tokenizer", "decoded as it was", rounds)
    count("Input", "any token ids to the tokenizer", "a text, or exit 3, names the id", rounds)
    count("Input", "any logits, NaN and infinity too, with any options", "a token, or exit 5, names the score", rounds)


@pytest.mark.parametrize("target", TARGETS)
def test_the_targets_of_the_fuzzer_pass_over_intact_and_cut_files(target: str) -> None:
    for seed in seeds(target):
        for content in (seed, seed[: len(seed) // 2], seed[:1] + b"\0" * 50):
            TARGETS[target](content)


# What the fuzzer found: a model of no content, or with a byte that its library cannot quote in a message of its own
@pytest.mark.parametrize("content", [b"", b"\x0a\x00", b"\x0a\x0a\x0a\x03abc\x15\x00\x00\x00\x00\xff"])
def test_a_tokenizer_without_entries_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"x\.model is not a SentencePiece model"):
        Tokenizer.load(path)


OPTIONS = {
    "--temp": ("nan", "inf", "-1", "1e999", "x", "", "101"),
    "--top-k": ("-1", "1.5", "nan", "9" * 30, "9" * 5000, "x"),
    "--top-p": ("2", "-0.1", "nan", "inf"),
    "--min-p": ("1.1", "nan"),
    "--repeat-penalty": ("0", "-1", "nan", "inf"),
    "--repeat-last-n": ("-1", "9" * 30),
    "--seed": ("-1", "9" * 30, "1.0", "x"),
    "--predict": ("0", "-1", "1.5", "nan", "x", "9" * 5000),
    "--n-samples": ("0", "-3", "x", "100000000000"),
    "--threads": ("0", "-1", "x", "1000000"),
}


def test_options_out_of_range_are_refused(kit: Kit, capsys: pytest.CaptureFixture[str], count: Count) -> None:
    rounds = 0
    for option, values in OPTIONS.items():
        for value in values:
            assert main(["generate", "x", "--model", str(kit.onnx), "-n", "2", f"{option}={value}"]) == 1, (
                option,
                value,
            )
            told = capsys.readouterr()
            assert "error: " in told.err
            assert "What to do: " in told.err
            assert not told.out
            rounds += 1
    count(
        "Input",
        "options of generate: NaN, negative, huge, no number",
        "exit 1, names option and value",
        rounds,
    )


def test_any_prompt_is_continued_or_refused(kit: Kit, capsys: pytest.CaptureFixture[str], count: Count) -> None:
    prompts = {"": 0, "\0": 0, "▁": 0, "\u202eabc": 0, "e\u0301" * 100: 0, "🦙": 0, "\n\n": 0, "a" * 1_000_000: 0}
    prompts |= {"\udcff": 1, "a\ud800b": 1}  # bytes in a command line that are not UTF-8
    for prompt, code in prompts.items():
        assert main(["generate", f"--prompt={prompt}", "--model", str(kit.onnx), "-n", "2", "--no-safety"]) == code
        told = capsys.readouterr()
        assert told.out.startswith(prompt) if code == 0 else "the prompt is not UTF-8" in told.err
    count(
        "Input", "prompts: empty, NUL, right-to-left, 1 MB, not UTF-8", "continued, or exit 1, says why", len(prompts)
    )


def test_a_conversation_ends_with_its_input(
    kit: Kit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    texts = ("", "\n", "\n\n\n", "Hello", "Hello\n", "\0\n", "\udcff\nHello\n")
    for text in texts:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["generate", "-i", "--model", str(kit.onnx), "-n", "2", "--no-safety"]) == 0
        assert "Traceback" not in capsys.readouterr().err
    count("Input", "a conversation whose input ends anywhere", "exit 0", len(texts))


def test_an_error_of_this_project_is_all_that_a_sampling_setting_raises() -> None:
    for name in ("temperature", "top_p", "min_p", "repeat_penalty"):
        with pytest.raises(MinimalLlmError, match=f"{name} = nan"):
            Sampling(**{name: float("nan")})
