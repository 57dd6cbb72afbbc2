from __future__ import annotations

import numpy as np
import pytest
import torch
from scripts.agreement.check import check_agreement

from minimal_llm.common.config import load_config
from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.primer.grammar.lexicon import load_lexicon
from minimal_llm.model.ngrams import NGrams
from minimal_llm.model.transformer import Architecture, TinyTransformer
from minimal_llm.tokenizer.token_files import Span, TokenFiles, TokenMeta
from minimal_llm.tokenizer.train import train_tokenizer
from minimal_llm.validation.grammar.pairs import PAIRS, every_set, words_of, write_pairs
from minimal_llm.validation.grammar.score import measure_grammar, model_scores, ngram_scores
from tests.support.stages import ROOT

TEMPLATES = ROOT / "src/minimal_llm/validation/grammar"


def every_word(language: Language) -> set[str]:
    """All words that pairs may have."""
    forms = [form for one in every_set(language, load_lexicon()) for entry in one for form in entry.values()]
    return words_of((TEMPLATES / f"templates_{language}.yaml").read_text(encoding="utf-8") + " ".join(forms))


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_enough_phenomena_and_pairs(language: Language) -> None:
    phenomena = write_pairs(language, every_word(language))
    assert len(phenomena) >= 12
    assert sum(map(len, phenomena.values())) >= 600
    for pairs in phenomena.values():
        assert len({pair.right for pair in pairs}) == len(pairs) == PAIRS
        assert all(pair.right != pair.wrong and "{" not in pair.right and "[" not in pair.wrong for pair in pairs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_right_sentences_agree_and_the_checker_of_stories_finds_wrong_ones(language: Language) -> None:
    phenomena = write_pairs(language, every_word(language))
    right = [error for pairs in phenomena.values() for pair in pairs for error in check(pair.right, language)]
    assert right == []
    name = {"en": "agreement with be", "es": "gender of adjectives"}[language]
    assert sum(bool(check(pair.wrong, language)) for pair in phenomena[name]) > PAIRS / 2


def check(sentence: str, language: Language) -> tuple[str, ...]:
    return check_agreement(sentence, language).errors


def test_every_word_is_one_that_the_corpus_has() -> None:
    lexicon = load_lexicon()
    nouns = {form for noun in lexicon.nouns[::3] for form in (noun.english("m", False), noun.english("m", True))}
    known = words_of(" ".join(nouns) + " red walk walks a an he saw there was once it is")
    phenomena = write_pairs("en", known)
    assert set(phenomena) == {"articles"}
    for pairs in phenomena.values():
        assert all(words_of(pair.right + pair.wrong) <= known for pair in pairs)


def test_a_corpus_without_the_words_has_no_pairs() -> None:
    assert write_pairs("es", {"nada"}) == {}


def test_the_log_likelihood_is_that_of_each_token_after_those_before_it() -> None:
    torch.manual_seed(0)
    model = TinyTransformer(Architecture(50, 1, 64, 2, 128, False, 16))
    sentences = [[1, 5, 9], [1, 7], [1, 3, 4, 30, 2]]
    expected = []
    with torch.no_grad():
        for ids in sentences:
            steps = [torch.log_softmax(model(torch.tensor([ids[:n]]))[0], -1)[ids[n]] for n in range(1, len(ids))]
            expected.append(sum(step.item() for step in steps))
    np.testing.assert_allclose(model_scores(model, sentences), expected, rtol=1e-5)


def test_counted_models_prefer_what_the_training_text_has() -> None:
    counts = NGrams([1, 5, 6, 7, 2] * 10 + [1, 8, 2], 10)
    seen, unseen = ngram_scores(counts, 3, [[1, 5, 6, 7], [1, 7, 6, 5]])
    often, rarely = ngram_scores(counts, 1, [[1, 5], [1, 8]])
    assert seen > unseen
    assert often > rarely
    assert ngram_scores(counts, 1, [[1, 5, 6]]) == ngram_scores(counts, 1, [[1, 6, 5]])


def test_a_model_that_has_learned_nothing_is_near_chance() -> None:
    right = [pair.right for pairs in write_pairs("en", every_word("en")).values() for pair in pairs]
    config = load_config(ROOT / "params.yaml").tokenizer.model_copy(update={"vocab_size": 1000, "threads": 1})
    tokenizer, words = train_tokenizer(right, config), "\n".join(right)
    ids = np.array([tokenizer.bos_id, *tokenizer.encode(words), tokenizer.eos_id], np.uint16)
    span = (Span(language="en", first=0, tokens=len(ids), bytes=len(words)),)
    meta = TokenMeta(
        source="files", source_fallback=False, tokenizer_sha256=tokenizer.sha256, vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, dtype="uint16", train=span, val=(), test=(),
    )  # fmt: skip
    torch.manual_seed(0)
    model = TinyTransformer(Architecture(tokenizer.vocab_size, 1, 64, 2, 128, False, 64))
    scores = measure_grammar(model, tokenizer, TokenFiles(meta, {"train": ids}, {}))
    assert scores.keys() == {"en"}
    assert 0.3 < scores["en"].share < 0.7
    assert scores["en"].trigram > 0.6
