"""Every export gives the same token ids, logits and greedy continuations in the program it is made for."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from llama_cpp import Llama
from numpy.typing import NDArray
from openai import OpenAI
from transformers import AutoModelForCausalLM, AutoTokenizer

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import TokenizerConfig
from minimal_llm.export.export import FORMATS
from minimal_llm.export.gguf import files as gguf_files
from minimal_llm.export.huggingface import files as hf_files
from minimal_llm.export.source import Source
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.train import train_tokenizer
from tests.interop.conftest import Exported

PROMPTS = [
    "Once upon a time there was a girl who lived in a small house by the sea.",
    "“I do not know,” said the old man, “but I shall ask my brother tomorrow.”",
    "Había una vez una niña que vivía en una casa pequeña junto al mar.",
    "—¿Quién llamó? —preguntó la señora—. ¡Ábreme la puerta, señor Núñez!",
]
AWKWARD = [
    "",
    " two  spaces ",
    "tab\tand\nlines\r\n\n",
    "😀 漢字 e\u0301",
    "▁ ▁▁a▁",
    "<s></s><unk><0x0A> a<s>b",
    "\x00\x7f",
    "a\ufeff",
]
TOLERANCE = 1e-4
CONTINUATION = 50
MAX_TIES = 0.005  # fraction of the paragraphs, with the small vocabularies of these tests
FLOAT32 = 0  # its number in ggml; llama.cpp's cache is 16-bit by default

Logits = NDArray[np.float32]


def paragraphs(exported: Exported) -> list[str]:
    """The first paragraphs of the corpus."""
    text = Artifacts(exported.folder / "data").corpus.read_text(encoding="utf-8")
    return text.split("\n")[:1500]


def with_start(exported: Exported, text: str) -> list[int]:
    return [exported.tokenizer.bos_id, *exported.tokenizer.encode(text)]


@torch.inference_mode()
def our_logits(exported: Exported, ids: Sequence[int]) -> Logits:
    """Return the logits after each of T tokens, (T, V)."""
    logits: Logits = (exported.model.hidden(torch.tensor([ids])) @ exported.model.output_weight.t())[0].numpy()
    return logits


def greedy(ids: Sequence[int], last_logits: Callable[[list[int]], Logits], end: int) -> list[int]:
    """Return the greedy continuation, of CONTINUATION tokens or up to the end token."""
    seen = list(ids)
    while len(seen) < len(ids) + CONTINUATION and end not in seen[len(ids) :]:
        seen.append(int(last_logits(seen).argmax()))
    return seen[len(ids) :]


def our_continuation(exported: Exported, ids: Sequence[int]) -> list[int]:
    return greedy(ids, lambda seen: our_logits(exported, seen)[-1], exported.tokenizer.eos_id)


def test_transformers_encodes_and_decodes_the_same_token_ids(exported: Exported) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(exported.folder / "hf"))
    for text in [*PROMPTS, *AWKWARD, *paragraphs(exported)]:
        ids = tokenizer(text)["input_ids"]
        assert ids == with_start(exported, text), text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_transformers_computes_the_same_logits(exported: Exported) -> None:
    model = AutoModelForCausalLM.from_pretrained(str(exported.folder / "hf"))
    for text in PROMPTS:
        ids = with_start(exported, text)
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].numpy()
        np.testing.assert_allclose(logits, our_logits(exported, ids), atol=TOLERANCE, rtol=0)
        short = ids[:12]
        produced = model.generate(torch.tensor([short]), max_new_tokens=CONTINUATION, do_sample=False)
        assert produced[0, len(short) :].tolist() == our_continuation(exported, short)


def test_llama_cpp_encodes_and_decodes_the_same_token_ids(exported: Exported) -> None:
    llama = Llama(str(exported.folder / "gguf" / "model.gguf"), n_ctx=0, verbose=False)
    texts = [*PROMPTS, *AWKWARD, *paragraphs(exported)]
    found = [llama.tokenize(text.encode(), add_bos=False, special=False) for text in texts]
    assert [llama.detokenize(ids).decode() for ids in found] == texts
    expected = exported.tokenizer.encode_all(texts)
    others = [number for number, ids in enumerate(found) if ids != expected[number]]
    # Of two equally likely tokenizations, llama.cpp takes the one whose first tokens are longer.
    assert all(sorted(found[number]) == sorted(expected[number]) for number in others)
    assert all(number >= len(PROMPTS) + len(AWKWARD) for number in others)
    assert len(others) <= len(texts) * MAX_TIES
    assert llama.tokenize(b"<s>a", add_bos=False, special=True) == with_start(exported, "a")


@pytest.mark.parametrize(("cache", "tolerance"), [({"type_k": FLOAT32, "type_v": FLOAT32}, TOLERANCE), ({}, 0.05)])
def test_llama_cpp_computes_the_same_logits(exported: Exported, cache: dict[str, Any], tolerance: float) -> None:
    llama = Llama(str(exported.folder / "gguf" / "model.gguf"), n_ctx=0, logits_all=True, verbose=False, **cache)
    for text in PROMPTS:
        ids = with_start(exported, text)
        llama.reset()
        llama.eval(ids)
        np.testing.assert_allclose(llama.scores[: len(ids)], our_logits(exported, ids), atol=tolerance, rtol=0)
        if cache:
            short = ids[:12]
            produced = greedy(short, lambda seen: evaluated(llama, seen), exported.tokenizer.eos_id)
            assert produced == our_continuation(exported, short)


def evaluated(llama: Llama, ids: Sequence[int]) -> Logits:
    """Return the logits after some tokens, (V,); llama.cpp evaluates only those it has not seen."""
    llama.eval(ids[llama.n_tokens :] if 0 < llama.n_tokens < len(ids) else restarted(llama, ids))
    last: Logits = llama.scores[llama.n_tokens - 1]
    return last


def restarted(llama: Llama, ids: Sequence[int]) -> Sequence[int]:
    llama.reset()
    return ids


def test_a_server_of_llama_cpp_answers_the_client_of_openai(exported: Exported) -> None:
    """The server of llama-cpp-python, which has the API of llama-server, and unlike that begins a prompt with <s>."""
    port = unused_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", "model.gguf", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--n_ctx", "0", "--type_k", "0", "--type_v", "0"],
        cwd=exported.folder / "gguf",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=60)
            for text in ("Once upon a time", "Había una vez"):
                answer = client.completions.create(
                    model="model.gguf", prompt=text, max_tokens=20, temperature=0, extra_body={"repeat_penalty": 1.0}
                )
                expected = our_continuation(exported, with_start(exported, text))[:20]
                wanted = [token for token in expected if token != exported.tokenizer.eos_id]
                assert answer.choices[0].text == exported.tokenizer.decode(wanted)
        finally:
            server.terminate()


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_onnx_runtime_computes_the_same_logits_at_once_and_token_by_token(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(str(exported.folder / "onnx" / "model.onnx"))
    shape = exported.model.architecture
    empty = np.zeros((shape.layers, 2, 1, shape.heads, 0, shape.d_model // shape.heads), np.float32)
    for text in PROMPTS:
        ids, cache = with_start(exported, text), empty
        expected = our_logits(exported, ids)
        for number, token in enumerate(ids):
            logits, cache = session.run(None, {"tokens": [[token]], "past": cache})
            np.testing.assert_allclose(logits[0], expected[number], atol=TOLERANCE, rtol=0)
        whole, _ = session.run(None, {"tokens": [ids], "past": empty})
        np.testing.assert_allclose(whole[0], expected[-1], atol=TOLERANCE, rtol=0)
        last = lambda seen: session.run(["logits"], {"tokens": [seen], "past": empty})[0][0]  # noqa: E731
        assert greedy(ids[:12], last, exported.tokenizer.eos_id) == our_continuation(exported, ids[:12])


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.packages])  # html opens a browser
def test_the_program_in_the_card_runs(exported: Exported, name: str) -> None:
    folder = exported.folder / name
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert program
    done = subprocess.run(
        [sys.executable, "-c", program[1]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 50


def test_a_character_tokenizer_gives_the_same_token_ids(exported: Exported, tmp_path: Path) -> None:
    config = TokenizerConfig(name="t", vocab_size=1000, model_type="char", threads=1, sample_megabytes=16)
    tokenizer = train_tokenizer(paragraphs(exported), config)
    model = TinyTransformer(Architecture(tokenizer.vocab_size, 1, 64, 2, 128, True, 32))
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    source = Source(model.architecture, weights, tokenizer, "1.0.0")
    for name, content in {**hf_files(source), **gguf_files(source)}.items():
        (tmp_path / name).write_bytes(content)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    llama = Llama(str(tmp_path / "model.gguf"), n_ctx=0, verbose=False)
    for text in [*PROMPTS, *AWKWARD]:
        ids = tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert llama.tokenize(text.encode(), add_bos=False, special=False) == ids
