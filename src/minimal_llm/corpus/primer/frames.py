"""Frames: checks and compiles the story outlines in `story_frames/*.yaml`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from minimal_llm.corpus.languages import LANGUAGES, Language
from minimal_llm.corpus.primer import group_en, group_es
from minimal_llm.corpus.primer.grammar.data import Entry, PrimerDataError, problems_of, read_yaml
from minimal_llm.corpus.primer.grammar.lexicon import Lexicon, load_lexicon
from minimal_llm.corpus.primer.proofreading import faults, literal_words
from minimal_llm.corpus.primer.rng import SplitMix64
from minimal_llm.corpus.primer.scene import Compiled, Scene, compile_slot
from minimal_llm.corpus.primer.slots import (
    Both,
    NounSlot,
    PersonSlot,
    PetNameSlot,
    PickSlot,
    Slot,
    Words,
    from_shorthand,
)
from minimal_llm.corpus.primer.template import Context, Template, parse

_words = str.split

KINDS = (
    "adventure",
    "bedtime",
    "birthday",
    "description",
    "diary",
    "fable",
    "fairy_tale",
    "farm",
    "friendship",
    "kitchen_mishap",
    "letter",
    "lost_and_found",
    "mystery",
    "pets",
    "recipe",
    "riddle",
    "school_day",
    "shop_dialogue",
    "sports_day",
    "travel_diary",
    "weather_report",
    "workshop",
)
FEWEST_SENTENCES, MOST_SENTENCES = 6, 15
FEWEST_WORDINGS = 2
# A sentence with fewer different texts would repeat itself in a corpus of 3 MB.
FEWEST_WAYS = 200

# A slot with one of these names would shadow the word.
RESERVED = frozenset(
    _words(
        "a an the at this that these those some my your our i you we they m f mp fp "
        "el un del al este ese aquel mi tu su yo ustedes usted nosotros nosotras ellos ellas"
    )
)

_COMPILERS = {"en": group_en.compile_words, "es": group_es.compile_words}
_Slot = Annotated[Slot, Field(discriminator="type"), BeforeValidator(from_shorthand)]


class Wordings(Entry):
    """Several wordings of the same statement, in each language."""

    en: Words = Field(min_length=FEWEST_WORDINGS)
    es: Words = Field(min_length=FEWEST_WORDINGS)


class SentenceSpec(Wordings):
    """A sentence. `chance`: the percentage of stories with it. `line`: a line of its own, like `Dear Ana,`."""

    chance: int | None = Field(default=None, ge=1, le=99)
    line: bool = False


class OneOfSpec(Entry):
    """Alternative turns of a story, each a sentence or a list of sentences."""

    one_of: tuple[SentenceSpec | tuple[SentenceSpec, ...], ...] = Field(min_length=2)


class FrameSpec(Entry):
    """The content of a frame's YAML file."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal[KINDS]  # type: ignore[valid-type]
    slots: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], _Slot] = Field(min_length=2)
    title: Wordings
    sentences: tuple[Literal["break"] | SentenceSpec | OneOfSpec, ...]


class Sentence:
    """A compiled sentence."""

    def __init__(self, spec: Wordings, contexts: dict[Language, Context], where: str) -> None:
        self.chance = spec.chance if isinstance(spec, SentenceSpec) else None
        self.line = isinstance(spec, SentenceSpec) and spec.line
        self.wordings: dict[Language, tuple[Template, ...]] = {
            language: tuple(_parse(text, contexts[language], where) for text in getattr(spec, language))
            for language in LANGUAGES
        }
        self.where = where


Step = Sentence | Literal["break"] | tuple[tuple[Sentence, ...], ...]


class Frame:
    """A compiled frame: draws the slot values and the sentences of a story."""

    def __init__(self, spec: FrameSpec, lexicon: Lexicon) -> None:
        self.id = spec.id
        self.kind: str = spec.kind
        self.spec = spec
        self._check_references()
        literal = literal_words(self.every_wording())
        self._slots: dict[str, Compiled] = {}
        for name, slot in spec.slots.items():
            try:
                self._slots[name] = compile_slot(slot, lexicon, literal)
            except ValueError as error:
                raise PrimerDataError(f"{self.id}: slot {name}", str(error)) from error
        contexts = _contexts(spec, lexicon)
        self.title = Sentence(spec.title, contexts, f"{self.id}: title")
        self.steps: list[Step] = [
            step if step == "break" else self._compile(step, contexts, number)
            for number, step in enumerate(spec.sentences, start=1)
        ]
        self._check_slots_used(contexts)
        self._check_length()

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of possible values of each slot."""
        return {name: compiled.size for name, compiled in self._slots.items()}

    def draw(self, rng: SplitMix64) -> Scene:
        """Draw the slot values of a story."""
        scene = Scene({}, rng)
        used: set[str] = set()
        for name, slot in self._slots.items():
            scene.values[name] = slot.draw(rng, scene.values, used)
        return scene

    def plan(self, rng: SplitMix64) -> list[Sentence | Literal["break"]]:
        """Draw the sentences of a story, the same ones in both languages."""
        chosen: list[Sentence | Literal["break"]] = []
        for step in self.steps:
            for item in rng.choice(step) if isinstance(step, tuple) else (step,):
                if item == "break" or item.chance is None or rng.percent(item.chance):
                    chosen.append(item)
        return chosen

    def sentences(self) -> Iterator[Sentence]:
        """Yield every sentence of the frame."""
        for step in self.steps:
            if isinstance(step, tuple):
                for branch in step:
                    yield from branch
            elif isinstance(step, Sentence):
                yield step

    def every_wording(self) -> Iterator[tuple[str, Language, str, bool]]:
        """Yield location, language, source and whether it forms its own line, for every wording."""
        specs: list[tuple[str, Wordings]] = []
        for number, step in enumerate(self.spec.sentences, start=1):
            if isinstance(step, SentenceSpec):
                specs.append((f"sentence {number}", step))
            elif isinstance(step, OneOfSpec):
                for branch in step.one_of:
                    specs += [
                        (f"sentence {number}", one) for one in (branch if isinstance(branch, tuple) else (branch,))
                    ]
        for where, spec in specs:
            for language in LANGUAGES:
                for text in getattr(spec, language):
                    yield where, language, text, isinstance(spec, SentenceSpec) and spec.line
        for name, slot in self.spec.slots.items():
            if isinstance(slot, PickSlot):
                for index in range(len(slot.options)):
                    for both in slot.parts(index).values():
                        yield f"slot {name}", "en", both.en, True
                        yield f"slot {name}", "es", both.es, True

    def problems(self) -> list[str]:
        """Return all style problems: wrong punctuation, duplicate wordings, sentences with too little variety."""
        found = []
        for where, language, text, free in self.every_wording():
            found += [f"{self.id}: {where} ({language}): {fault}: {text!r}" for fault in faults(text, language, free)]
        for sentence in self.sentences():
            for language, templates in sentence.wordings.items():
                ways = sum(template.ways(self.sizes) for template in templates)
                if ways < FEWEST_WAYS:
                    found.append(
                        f"{sentence.where} ({language}): only {ways} different texts, {FEWEST_WAYS} are required: "
                        f"use another slot or add wordings: {templates[0].source!r}"
                    )
                if len({template.source for template in templates}) < len(templates):
                    found.append(f"{sentence.where} ({language}): duplicate wording")
        return found

    def _compile(self, step: SentenceSpec | OneOfSpec, contexts: dict[Language, Context], number: int) -> Step:
        where = f"{self.id}: sentence {number}"
        if isinstance(step, SentenceSpec):
            return Sentence(step, contexts, where)
        branches = [branch if isinstance(branch, tuple) else (branch,) for branch in step.one_of]
        return tuple(tuple(Sentence(spec, contexts, where) for spec in branch) for branch in branches)

    def _check_references(self) -> None:
        before: dict[str, Slot] = {}
        for name, slot in self.spec.slots.items():
            if name in RESERVED:
                raise PrimerDataError(f"{self.id}: slot {name}", "this name is a reserved word: choose another one")
            of = slot.of if isinstance(slot, NounSlot | PetNameSlot) else None
            wanted = NounSlot if isinstance(slot, PetNameSlot) else PersonSlot
            if of is not None and not isinstance(before.get(of), wanted):
                raise PrimerDataError(
                    f"{self.id}: slot {name}", f"of: {of!r} must be a {wanted.__name__} defined before it"
                )
            before[name] = slot

    def _check_slots_used(self, contexts: dict[Language, Context]) -> None:
        for language in LANGUAGES:
            used = set(self.title.wordings[language][0].slots)
            for sentence in self.sentences():
                used = used.union(*(template.slots for template in sentence.wordings[language]))
            unused = [name for name in contexts[language].slots if name not in used]
            if unused:
                raise PrimerDataError(self.id, f"unused slots in the {language} text: {', '.join(unused)}")

    def _check_length(self) -> None:
        least = most = 0
        for step in self.steps:
            if isinstance(step, tuple):
                least += min(len(branch) for branch in step)
                most += max(len(branch) for branch in step)
            elif isinstance(step, Sentence):
                least += step.chance is None
                most += 1
        if least < FEWEST_SENTENCES or most > MOST_SENTENCES:
            raise PrimerDataError(
                self.id, f"has {least} to {most} sentences, but {FEWEST_SENTENCES} to {MOST_SENTENCES} are allowed"
            )


def load_frame(source: Traversable, lexicon: Lexicon) -> Frame:
    """Read, check and compile one frame.

    Raises:
        PrimerDataError: the frame is invalid; the message names the file, the place and the problem.
    """
    content: Any = read_yaml(source, source.name)
    try:
        spec = FrameSpec.model_validate(content)
    except ValidationError as error:
        raise PrimerDataError(source.name, problems_of(error)) from error
    if f"{spec.id}.yaml" != source.name:
        raise PrimerDataError(source.name, f"its id is {spec.id!r}: rename the file to {spec.id}.yaml")
    return Frame(spec, lexicon)


def frame_files() -> list[Traversable]:
    """Return the frame files, sorted by name."""
    folder = resources.files("minimal_llm.corpus.primer") / "story_frames"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(files, key=lambda file: file.name)


@cache
def load_frames() -> tuple[Frame, ...]:
    """Return all frames, sorted by id.

    Raises:
        PrimerDataError: a frame is invalid.
    """
    lexicon = load_lexicon()
    # Nothing created here ever becomes garbage, and searching it for garbage would double the time.
    gc.disable()
    try:
        return tuple(load_frame(file, lexicon) for file in frame_files())
    finally:
        gc.enable()


def _contexts(spec: FrameSpec, lexicon: Lexicon) -> dict[Language, Context]:
    contexts: dict[Language, Context] = {}
    for language in LANGUAGES:
        picks: dict[str, dict[str, tuple[Template, ...]]] = {}
        context = Context(language, spec.slots, lexicon, picks)
        for name, slot in spec.slots.items():
            if isinstance(slot, PickSlot):
                options = [slot.parts(index) for index in range(len(slot.options))]
                picks[name] = {
                    part: tuple(
                        _parse(_text(option[part], language), context, f"{spec.id}: slot {name}") for option in options
                    )
                    for part in options[0]
                }
        contexts[language] = context
    return contexts


def _text(both: Both, language: Language) -> str:
    return both.en if language == "en" else both.es


def _parse(text: str, context: Context, where: str) -> Template:
    try:
        return parse(text, context, _COMPILERS[context.language])
    except ValueError as error:
        raise PrimerDataError(f"{where} ({context.language})", str(error)) from error
