from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimal_llm.common.config import load_config
from minimal_llm.inference.generation import TextStream, decode_until_end, generate, stream_text, stream_tokens
from minimal_llm.inference.sampling import Sampling
from minimal_llm.inference.torch_decoder import TorchDecoder
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.tokenizer import Tokenizer
from minimal_llm.tokenizer.train import train_tokenizer
from tests.support.stages import ROOT

# A tied model with large weights repeats the token that it reads.
SMALL = Architecture(
    vocab_size=50, layers=2, d_model=64, heads=4, feed_forward=128, tie_embeddings=False, max_seq_length=16
)


@pytest.fixture
def model() -> TinyTransformer:
    torch.manual_seed(0)
    model = TinyTransformer(SMALL)
    with torch.no_grad():
        model.output_weight.mul_(20)  # far from uniform, so that a wrong position changes the token
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [f"The {n} cats saw {n} dogs under the tree, y la niña comió {n} peras ayer." for n in range(200)]
    config = load_config(ROOT / "params.yaml").tokenizer.model_copy(update={"vocab_size": 300, "threads": 1})
    return train_tokenizer(texts, config)


def tokens_of(model: TinyTransformer, prompt: list[int], count: int, sampling: Sampling) -> list[int]:
    return [token for (token,) in islice(stream_tokens(TorchDecoder(model), [prompt], sampling), count)]


def test_greedy_generation_equals_a_computation_without_cache_even_beyond_the_context(model: TinyTransformer) -> None:
    produced = tokens_of(model, [1, 2, 3], 60, Sampling(temperature=0))
    seen = [1, 2, 3]
    with torch.no_grad():
        for token in produced:
            if len(seen) > 16:
                seen = seen[-8:]
            assert token == int(model(torch.tensor([seen]))[0].argmax())
            seen.append(token)


def test_the_seed_determines_the_text(model: TinyTransformer) -> None:
    first, again, other = (tokens_of(model, [1], 30, Sampling(seed=s)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_only_the_end_of_a_prompt_longer_than_the_context_matters(model: TinyTransformer) -> None:
    prompt = list(range(40))
    assert tokens_of(model, prompt, 5, Sampling(seed=3)) == tokens_of(model, prompt[-16:], 5, Sampling(seed=3))


def test_each_stream_of_a_batch_continues_its_own_prompt(model: TinyTransformer) -> None:
    prompts = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    batch = zip(*islice(stream_tokens(TorchDecoder(model), prompts, Sampling(temperature=0)), 40), strict=True)
    assert [list(stream) for stream in batch] == [
        tokens_of(model, prompt, 40, Sampling(temperature=0)) for prompt in prompts
    ]


def test_the_streams_of_a_batch_are_sampled_independently(model: TinyTransformer) -> None:
    first, second = zip(*islice(stream_tokens(TorchDecoder(model), [[1], [1]], Sampling()), 30), strict=True)
    assert first != second


def test_generation_stops_at_the_end_token(tokenizer: Tokenizer) -> None:
    model = TinyTransformer(Architecture(tokenizer.vocab_size, 1, 64, 2, 128, False, 16))
    model.hidden = lambda tokens, cache: torch.ones(*tokens.shape, 64)  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        model.output_weight.fill_(-1.0)
        model.output_weight[tokenizer.eos_id] = 1.0
    assert generate(TorchDecoder(model), tokenizer, "The", 5, Sampling()) == ""


def test_at_most_the_requested_number_of_tokens_is_generated(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)  # other weights may end the text earlier
    shape = Architecture(tokenizer.vocab_size, 1, 64, 2, 128, True, 16)
    stream = [list(stream_text(TorchDecoder(TinyTransformer(shape)), tokenizer, "The", n, Sampling())) for n in (1, 7)]
    assert [len(chunks) for chunks in stream] == [2, 8]  # one per token, and the rest
    assert generate(TorchDecoder(TinyTransformer(shape)), tokenizer, "The", 0, Sampling()) == ""
    ids = [*tokenizer.encode("a tree"), tokenizer.eos_id, *tokenizer.encode("x")]
    assert decode_until_end(tokenizer, ids) == "a tree"


@given(text=st.text(max_size=60))
def test_a_stream_yields_whole_characters_and_the_whole_text(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    stream = TextStream(tokenizer)
    chunks = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join(chunks) == text
    assert stream.finish() == ""


def test_incomplete_characters_become_replacement_characters(tokenizer: Tokenizer) -> None:
    ids = {byte: token for token, byte in tokenizer.byte_values.items()}
    stream = TextStream(tokenizer)
    assert stream.push(ids[0xC3]) == ""
    assert stream.push(tokenizer.encode("a")[0]) == "�a"
    assert stream.push(ids[0xE2]) == ""
    assert stream.finish() == "�"
