"""Writes stories from frames, and rewrites those with sentences that occurred before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.primer.frames import Frame, Sentence
from minimal_llm.corpus.primer.rng import SplitMix64
from minimal_llm.corpus.primer.scene import Scene
from minimal_llm.corpus.primer.text import finish, sentences, starts_speech

# Stories with repeated sentences are drawn again. Each story adds a few draws to the budget; if a corpus is too large
# for the frames, the budget runs out and sentences repeat, instead of an endless search.
_DRAWS_PER_STORY = 2
_MOST_SAVED = 400
_MOST_DRAWS = 8


@dataclass(frozen=True)
class Story:
    """A story in both languages."""

    frame: str
    title: dict[Language, str]
    paragraphs: dict[Language, tuple[str, ...]]


@dataclass
class _Draft:
    story: Story
    sentences: dict[Language, list[int]]
    repeated: int


class StoryWriter:
    """An endless, seeded sequence of stories that uses all frames equally often."""

    def __init__(self, frames: Sequence[Frame], seed: int) -> None:
        self._frames = frames
        self._rng = SplitMix64(seed)
        self._seen: dict[Language, set[int]] = {language: set() for language in LANGUAGES}
        self._saved = _MOST_SAVED

    def stories(self) -> Iterator[Story]:
        """Yield stories, endlessly."""
        last = ""
        while True:
            deck = self._rng.shuffled(self._frames)
            if deck[0].id == last and len(deck) > 1:
                deck.append(deck.pop(0))
            for frame in deck:
                yield self._write(frame)
            last = deck[-1].id

    def _write(self, frame: Frame) -> Story:
        best = self._draft(frame)
        self._saved = min(self._saved + _DRAWS_PER_STORY, _MOST_SAVED)
        for _ in range(_MOST_DRAWS):
            if best.repeated == 0 or self._saved == 0:
                break
            self._saved -= 1
            again = self._draft(frame)
            if again.repeated < best.repeated:
                best = again
        for language in LANGUAGES:
            self._seen[language].update(best.sentences[language])
        return best.story

    def _draft(self, frame: Frame) -> _Draft:
        scene = frame.draw(self._rng)
        plan = frame.plan(self._rng)
        title: dict[Language, str] = {}
        paragraphs: dict[Language, tuple[str, ...]] = {}
        keys: dict[Language, list[int]] = {}
        repeated = 0
        for language in LANGUAGES:
            keys[language] = []
            title[language] = finish(self._rng.choice(frame.title.wordings[language]).render(scene), language)
            items: list[tuple[str, bool] | None] = []
            for item in plan:
                if item == "break":
                    items.append(None)
                    continue
                text, repeats = self._word(item, scene, language, keys[language])
                items.append((text, item.line))
                repeated += repeats
            paragraphs[language] = tuple(_paragraphs(items))
        return _Draft(Story(frame.id, title, paragraphs), keys, repeated)

    def _word(self, item: Sentence, scene: Scene, language: Language, own: list[int]) -> tuple[str, int]:
        # Use the first wording without a repeated sentence, or else the one with the fewest.
        seen = self._seen[language]
        best: tuple[int, str, list[int]] | None = None
        for wording in self._rng.shuffled(item.wordings[language]):
            text = finish(wording.render(scene), language)
            keys = [_key(sentence) for sentence in sentences(text)]
            repeats = sum(key in seen or key in own for key in keys)
            if best is None or repeats < best[0]:
                best = (repeats, text, keys)
            if repeats == 0:
                break
        if best is None:
            raise AssertionError("a sentence has no wording")
        own += best[2]
        return best[1], best[0]


def _paragraphs(items: list[tuple[str, bool] | None]) -> Iterator[str]:
    # In both languages, direct speech starts a new paragraph, and so does the text after it.
    current: list[str] = []
    alone = False
    for item in items:
        if item is None or alone or (current and (item[1] or starts_speech(item[0]))):
            if current:
                yield " ".join(current)
            current = []
        alone = False
        if item is not None:
            current.append(item[0])
            alone = item[1] or starts_speech(item[0])
    if current:
        yield " ".join(current)


def _key(sentence: str) -> int:
    # Eight bytes instead of the whole sentence: a corpus of 100 MB has two million sentences.
    return int.from_bytes(hashlib.blake2b(sentence.encode("utf-8"), digest_size=8).digest(), "big")
