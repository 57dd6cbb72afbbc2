"""The safety filter: a blocklist in English and Spanish, for prompts and for text while it is generated.

A rule is a sequence of words with optional gaps. Text is normalized character by character (case, accents, look-alike
letters), split into words, and matched word by word, including leetspeak and s-p-e-l-l-e-d out words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import product
from typing import Any, NamedTuple

import yaml

GAPS = {"..": 2, "...": 4}  # the maximum number of words that a gap in a rule can stand for

# What `SafetyFilter.fold` returns for a character that is not part of a word.
_IGNORED = ""
_SPACE = " "
_MARK = "-"

_UNREADABLE = 64  # longer words (with runs of a character cut to three) cannot match a rule
_CHAIN = 24  # the maximum number of fragments in a spelled out word such as "b-o-m-b"
_RUN = re.compile(r"(.)\1+")
_LONG_RUN = re.compile(r"(.)\1\1")


@dataclass(frozen=True)
class Violation:
    """A match of a rule: `text[start:end]` matches `rule`, written as in rules.yaml."""

    category: str
    rule: str
    start: int
    end: int


@dataclass(eq=False)
class _Node:
    """A node in the trie of the rules: the words that may follow, with up to `gap` other words in between."""

    gap: int = 0
    following: dict[str, list[_Node]] = field(default_factory=dict)
    completes: tuple[str, str] | None = None  # category and rule


class _Step(NamedTuple):
    """A position in a rule: the alternative words, and how many other words may come after it."""

    words: frozenset[str]
    gap: int


class _Partial(NamedTuple):
    """A partial match: the node it has reached, and where in the text it began."""

    node: _Node
    start: int
    skips: int  # how many more words it may skip


class _Fragment(NamedTuple):
    """A word of the text that may be a fragment of a spelled out word, and the partial matches before it."""

    text: str
    start: int
    live: list[_Partial]


class SafetyFilter:
    """The compiled rules. Immutable, so any number of streams can share one."""

    def __init__(self, data: dict[str, Any]) -> None:
        """Compile the content of rules.yaml; raises ValueError for an invalid rule."""
        self._look_alikes = {
            character: letters for letters, alikes in data["look_alikes"].items() for character in alikes
        }
        leet: dict[str, str] = data["leet"]
        self._symbols = frozenset(leet)
        readings = max(len(letters) for letters in leet.values())
        self._leet = [
            str.maketrans({symbol: letters[min(n, len(letters) - 1)] for symbol, letters in leet.items()})
            for n in range(readings)
        ]
        self.fold = lru_cache(maxsize=4096)(self._fold)
        self.root, self._words = _compile(data, self._fold_word)
        self._squeezed: dict[str, list[str]] = {}
        for word in sorted(self._words):
            self._squeezed.setdefault(_squeeze(word), []).append(word)
        self.categories: tuple[str, ...] = tuple(data["rules"])

    @classmethod
    def load(cls) -> SafetyFilter:
        """Return the filter with the rules of this package."""
        return cls(read_data("rules.yaml"))

    def check(self, text: str) -> Violation | None:
        """Return the first violation in `text`, or None."""
        matcher = _Matcher(self)
        matcher.read(text)
        matcher.finish()
        return matcher.violation

    def readings(self, word: str) -> list[str]:
        """Return the words of the rules that a folded word can be read as, given leetspeak and repeated letters."""
        if word in self._words:
            return [word]
        if len(word) > _UNREADABLE:
            return []
        candidates = [word]
        if not word.isalpha():
            if not any(map(str.isalpha, word)):
                return []
            candidates = list(dict.fromkeys(word.translate(table) for table in self._leet))
        found = [candidate for candidate in candidates if candidate in self._words]
        for candidate in candidates:
            if _LONG_RUN.search(candidate):
                found += self._squeezed.get(_squeeze(candidate), [])
        return found

    def _fold(self, character: str) -> str:
        """Normalize a character to plain lowercase letters and digits, or to one of the constants above."""
        if unicodedata.category(character) in ("Cf", "Mn", "Me") or (
            unicodedata.category(character) == "Cc" and not character.isspace()
        ):
            return _IGNORED
        decomposed = unicodedata.normalize("NFKD", character)
        folded = "".join(self._look_alikes.get(part) or part.casefold() for part in decomposed)
        folded = "".join(self._look_alikes.get(part, part) for part in unicodedata.normalize("NFKD", folded))
        word = "".join(part for part in folded if part.isalnum() or part in self._symbols)
        if word and not word.strip("!"):
            return "!"  # U+203C is "!!"
        return word or (_SPACE if character.isspace() else _MARK)

    def _fold_word(self, word: str) -> str:
        return "".join(map(self._fold, word))


class SafeStream:
    """Filters text that arrives in chunks, and releases it as soon as it is known to be safe.

    Text that could still become part of a violation is held back, so that no part of a violation is ever shown. After a
    violation, `blocked` describes it, and no more text is released.
    """

    def __init__(self, rules: SafetyFilter, context: str = "") -> None:
        """`context` is text before the stream, such as the prompt: rules can match it, but it is never released."""
        self._matcher = _Matcher(rules)
        self._matcher.read(context)
        self._held = ""
        self._shown = len(context)  # where `_held` begins

    @property
    def blocked(self) -> Violation | None:
        """The violation that ended the stream, with offsets from the start of the context, or None."""
        return self._matcher.violation

    def feed(self, text: str) -> str:
        """Add `text`; return the text that can be released now, which may include text that was held back before."""
        if self.blocked:
            return ""
        self._held += text
        self._matcher.read(text)
        return self._release()

    def finish(self) -> str:
        """End the stream; return the rest of the text."""
        if self.blocked:
            return ""
        self._matcher.finish()
        return self._release()

    def _release(self) -> str:
        length = max(0, self._matcher.safe_until() - self._shown)
        released, self._held = self._held[:length], self._held[length:]
        self._shown += length
        if self.blocked:
            self._held = ""
        return released


class _Matcher:
    """Reads text in chunks and stops at the first violation.

    It advances all partial matches word by word, so it never needs earlier text again, and the result does not depend
    on how the text is cut into chunks.
    """

    def __init__(self, rules: SafetyFilter) -> None:
        self.violation: Violation | None = None
        self._rules = rules
        self._position = 0
        self._word = ""  # the current word so far, folded
        self._start = self._end = 0  # its offsets in the text
        self._separators = 0  # between it and the previous word
        self._live: list[_Partial] = []
        self._chain: list[_Fragment] = []  # previous words that may form a spelled out word with it

    def read(self, text: str) -> None:
        """Read `text` up to the first violation."""
        fold = self._rules.fold
        for character in text:
            folded = fold(character)
            if folded in (_SPACE, _MARK) or (folded == "!" and not self._word):
                if self._word:
                    self._end_word()
                    if self.violation:
                        return
                self._separate(2 if folded == _SPACE else 1)
            elif folded:
                self._extend_word(folded)
            self._position += 1

    def finish(self) -> None:
        """Handle the end of the text."""
        if self._word and not self.violation:
            self._end_word()
        self._live, self._chain = [], []

    def safe_until(self) -> int:
        """Return the start of the violation, or, if there is none, the first offset at which one can still start."""
        if self.violation:
            return self.violation.start
        starts = [partial.start for partial in self._live]
        if self._chain:
            starts.append(self._chain[0].start)
            # Partial matches that the fragments ended when read as words: the spelled out word may still extend them.
            starts += [partial.start for partial in self._chain[0].live]
        if self._word and len(self._word) <= _UNREADABLE:
            starts.append(self._start)
        return min(starts, default=self._position)

    def _extend_word(self, folded: str) -> None:
        if not self._word:
            self._start = self._position
        # Bound the memory for endless runs and words.
        if self._word[-3:] != 3 * folded and len(self._word) <= _UNREADABLE:
            self._word += folded
        if folded != "!":
            self._end = self._position + 1

    def _separate(self, weight: int) -> None:
        self._separators += weight
        if self._chain and not self._joins(""):
            self._chain = []

    def _joins(self, word: str) -> bool:
        # One mark joins any fragments ("b-omb", "b.o.m.b"); any separator joins letters ("b o m b", "b * o * m * b").
        return self._separators <= 1 or (len(word) <= 1 and len(self._chain[-1].text) == 1)

    def _end_word(self) -> None:
        word, self._word = self._word.rstrip("!"), ""
        if self._chain and not self._joins(word):
            self._chain = []
        self._chain = [*self._chain[1 - _CHAIN :], _Fragment(word, self._start, self._live)]
        self._separators = 0
        # Of several partial matches that reach the same node, keep the one with the earliest start.
        live: dict[tuple[_Node, int], _Partial] = {}
        skipping = (partial._replace(skips=partial.skips - 1) for partial in self._live if partial.skips)
        for partial in (*skipping, *self._advanced()):
            if partial.node.completes:
                self._found(*partial.node.completes, partial.start)
            place = (partial.node, partial.skips)
            if place not in live or partial.start < live[place].start:
                live[place] = partial
        self._live = [partial for partial in live.values() if partial.node.following]

    def _advanced(self) -> Iterator[_Partial]:
        joined = ""
        for fragment in reversed(self._chain):
            joined = fragment.text + joined
            for word in self._rules.readings(joined):
                for node in self._rules.root.following.get(word, ()):
                    yield _Partial(node, fragment.start, node.gap)
                for partial in fragment.live:
                    for node in partial.node.following.get(word, ()):
                        yield _Partial(node, partial.start, node.gap)

    def _found(self, category: str, rule: str, start: int) -> None:
        if not self.violation or start < self.violation.start:
            self.violation = Violation(category, rule, start, self._end)


def _compile(data: dict[str, Any], fold: Callable[[str], str]) -> tuple[_Node, frozenset[str]]:
    """Return the root of the trie of all rules, and all their words."""
    root = _Node()
    nodes: dict[tuple[_Step, ...], _Node] = {(): root}
    for category, rules in data["rules"].items():
        for rule in rules:
            for steps in _expand(rule, data["groups"], fold):
                for length, step in enumerate(steps, start=1):
                    if steps[:length] not in nodes:
                        nodes[steps[:length]] = child = _Node(step.gap)
                        for word in step.words:
                            nodes[steps[: length - 1]].following.setdefault(word, []).append(child)
                last = nodes[steps]
                last.completes = last.completes or (category, rule)
    return root, frozenset(word for steps in nodes for step in steps for word in step.words)


def _expand(rule: str, groups: dict[str, str], fold: Callable[[str], str]) -> Iterator[tuple[_Step, ...]]:
    """Yield the sequences of steps that a rule stands for; single-word alternatives are combined in one step."""
    choices: list[list[tuple[frozenset[str], ...]]] = []
    gaps: list[int] = []
    for element in rule.split():
        if element in GAPS:
            if not gaps:
                raise ValueError(f"safety rule {rule!r} begins with a gap")
            gaps[-1] = GAPS[element]
        else:
            phrases = [tuple(fold(word) for word in phrase) for phrase in _phrases(element, groups)]
            single = frozenset(phrase[0] for phrase in phrases if len(phrase) == 1)
            longer = [tuple(frozenset({word}) for word in phrase) for phrase in phrases if len(phrase) > 1]
            choices.append([(single,), *longer] if single else [*longer])
            gaps.append(0)
    if not gaps or gaps[-1]:
        raise ValueError(f"safety rule {rule!r} is empty or ends with a gap")
    for choice in product(*choices):
        yield tuple(
            _Step(words, gap if words is part[-1] else 0)
            for part, gap in zip(choice, gaps, strict=True)
            for words in part
        )


def _phrases(element: str, groups: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the alternatives of an element: word, words_of_a_phrase, <group>, or several of these joined by |."""
    for part in element.split("|"):
        if part.startswith("<"):
            name = part[1:-1]
            if name not in groups:
                raise ValueError(f"{part} is not a group of the safety rules")
            for member in groups[name].split():
                yield from _phrases(member, groups)
        else:
            yield tuple(part.split("_"))


def _squeeze(word: str) -> str:
    return _RUN.sub(r"\1", word)


def read_data(name: str) -> dict[str, Any]:
    """Return the content of a YAML file in this package."""
    text = (resources.files("minimal_llm.inference.safety") / name).read_text(encoding="utf-8")
    # The C loader is ten times faster, but not every build of PyYAML has it.
    content: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return content
