"""Samples: the model's continuations of fixed prompts, and simple metrics of them."""

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
REPETITION_WORDS = 4  # a sequence of this many words that occurs again counts as a repeat


@dataclass(frozen=True)
class Sample:
    """A prompt with its continuation. `detected` is the language it appears to be in, None if neither."""

    language: Language
    text: str
    repetition: float
    detected: Language | None


def write_samples(decoder: Decoder, tokenizer: Tokenizer, seed: int) -> list[Sample]:
    """Return a continuation of every prompt in both languages; the same seed gives the same texts."""
    samples = []
    for language, prompts in PROMPTS.items():
        for number, prompt in enumerate(prompts):
            sampling = Sampling(seed=derive_seed("validation samples", seed, language, number))
            text = " ".join((prompt + generate(decoder, tokenizer, prompt, SAMPLE_TOKENS, sampling)).split())
            samples.append(Sample(language, text, repetition(text), detect_language(text)))
    return samples


def repetition(text: str) -> float:
    """Return the fraction of sequences of REPETITION_WORDS words that occurred earlier in the text, from 0 to 1."""
    words = text.lower().split()
    sequences = [tuple(words[i : i + REPETITION_WORDS]) for i in range(len(words) - REPETITION_WORDS + 1)]
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0
