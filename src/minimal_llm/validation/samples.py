"""Texts that a model writes to given prompts, and what can be measured of them."""

from __future__ import annotations

from dataclasses import dataclass

from minimal_llm.corpus.language_detection import detect_language
from minimal_llm.corpus.languages import Language
from minimal_llm.inference.generation import Decoder, generate
from minimal_llm.inference.sampling import Sampling
from minimal_llm.model.seeds import derive_seed
from minimal_llm.tokenizer.tokenizer import Tokenizer

PROMPTS: dict[Language, tuple[str, ...]] = {
    "en": ("Once upon a time", "The old man looked at", "She said that"),
    "es": ("Había una vez", "El viejo miró a", "Ella dijo que"),
}
SAMPLE_TOKENS = 60
REPETITION_WORDS = 4  # a run of this many words that occurs again counts as repeated


@dataclass(frozen=True)
class Sample:
    """A text that the model wrote. `detected` is the language that it looks like, None if neither."""

    language: Language
    text: str
    repetition: float
    detected: Language | None


def write_samples(decoder: Decoder, tokenizer: Tokenizer, seed: int) -> list[Sample]:
    """Return what the model makes of the prompts of both languages; equal seeds give equal texts."""
    samples = []
    for language, prompts in PROMPTS.items():
        for number, prompt in enumerate(prompts):
            sampling = Sampling(seed=derive_seed("validation samples", seed, language, number))
            text = " ".join((prompt + generate(decoder, tokenizer, prompt, SAMPLE_TOKENS, sampling)).split())
            samples.append(Sample(language, text, repetition(text), detect_language(text)))
    return samples


def repetition(text: str) -> float:
    """Return the share of runs of REPETITION_WORDS words that occurred before in the text, 0 to 1."""
    words = text.lower().split()
    runs = [tuple(words[i : i + REPETITION_WORDS]) for i in range(len(words) - REPETITION_WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
