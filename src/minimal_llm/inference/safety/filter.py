"""The safety filter: a blocklist for prompts, and for text while it streams out, in English and Spanish."""

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

GAPS = {"..": 2, "...": 4}  # how many words they may stand for in a rule, at most

# What `SafetyFilter.fold` makes of a character that is no part of a word.
_IGNORED = ""
_SPACE = " "
_MARK = "-"

_UNREADABLE = 64  # a word with more characters, runs cut to three, is none of the rules
_CHAIN = 24  # fragments that "b-o-m-b" may come in
_RUN = re.compile(r"(.)\1+")
_LONG_RUN = re.compile(r"(.)\1\1")


@dataclass(frozen=True)
class Violation:
    """What a text breaks: `text[start:end]` matches `rule`, written as in rules.yaml."""

    category: str
    rule: str
    start: int
    end: int


@dataclass(eq=False)
class _Node:
    """A place in the rules: the words that lead on from it, `gap` others between at most."""

    gap: int = 0
    following: dict[str, list[_Node]] = field(default_factory=dict)
    completes: tuple[str, str] | None = None  # category and rule


class _Step(NamedTuple):
    """One word of a rule, whichever of these it is, and how many others may stand behind it."""

    words: frozenset[str]
    gap: int


class _Partial(NamedTuple):
    """A match that may still come about: where it stands in the rules, and where in the text it began."""

    node: _Node
    start: int
    skips: int  # words that it may still pass over


class _Fragment(NamedTuple):
    """A word of the text that may be a piece of a longer one, and the matches that were under way before it."""

    text: str
    start: int
    live: list[_Partial]


class SafetyFilter:
    """The compiled rules. Build it once; it does not change, and any number of streams may share it."""

    def __init__(self, data: dict[str, Any]) -> None:
        """Compile the content of a file such as rules.yaml; raises ValueError for a rule that cannot be read."""
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
        """Return the filter with the rules of the package."""
        return cls(read_data("rules.yaml"))

    def check(self, text: str) -> Violation | None:
        """Return the first violation in `text`, None where there is none."""
        matcher = _Matcher(self)
        matcher.read(text)
        matcher.finish()
        return matcher.violation

    def readings(self, word: str) -> list[str]:
        """Return the words of the rules that a folded word may stand for: itself, leetspeak, drawn out letters."""
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
        """Return what stands for a character: plain lower case letters and digits, or one of the marks above."""
        if unicodedata.category(character) in ("Cf", "Mn", "Me") or (
            unicodedata.category(character) == "Cc" and not character.isspace()
        ):
            return _IGNORED
        decomposed = unicodedata.normalize("NFKD", character)
        folded = "".join(self._look_alikes.get(part) or part.casefold() for part in decomposed)
        folded = "".join(self._look_alikes.get(part, part) for part in unicodedata.normalize("NFKD", folded))
        word = "".join(part for part in folded if part.isalnum() or part in self._symbols)
        if word and not word.strip("!"):
            return "!"  # U+203C is two of them
        return word or (_SPACE if character.isspace() else _MARK)

    def _fold_word(self, word: str) -> str:
        return "".join(map(self._fold, word))


class SafeStream:
    """Text that comes in pieces, let through as far as it is safe.

    What could still become part of a violation is held back, so that no part of one is ever shown. Once there is a
    violation, `blocked` says which, and nothing that begins with it or comes after it is let through.
    """

    def __init__(self, rules: SafetyFilter, context: str = "") -> None:
        """`context`: text before the stream, such as the prompt. It counts for the rules and is never let through."""
        self._matcher = _Matcher(rules)
        self._matcher.read(context)
        self._held = ""
        self._shown = len(context)  # where `_held` begins

    @property
    def blocked(self) -> Violation | None:
        """The violation that ended the stream; its offsets count from the beginning of the context."""
        return self._matcher.violation

    def feed(self, text: str) -> str:
        """Return what may be shown now that `text` has come: the end of what came before, and a beginning of it."""
        if self.blocked:
            return ""
        self._held += text
        self._matcher.read(text)
        return self._release()

    def finish(self) -> str:
        """Return the rest, now that no more text will come."""
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
    """Reads text in pieces and stops at the first violation.

    It goes from word to word with all the matches that may still come about, so it needs none of the text before
    them, and how the text is cut into pieces makes no difference.
    """

    def __init__(self, rules: SafetyFilter) -> None:
        self.violation: Violation | None = None
        self._rules = rules
        self._position = 0
        self._word = ""  # as far as it was read, folded
        self._start = self._end = 0  # of that word, in the text
        self._separators = 0  # between it and the word before
        self._live: list[_Partial] = []
        self._chain: list[_Fragment] = []  # the words before that may be pieces of one with it

    def read(self, text: str) -> None:
        """Go on with `text`, as far as the first violation."""
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
        """End the text."""
        if self._word and not self.violation:
            self._end_word()
        self._live, self._chain = [], []

    def safe_until(self) -> int:
        """Return the offset before which no violation can begin any more, or where the violation does begin."""
        if self.violation:
            return self.violation.start
        starts = [partial.start for partial in self._live]
        if self._chain:
            starts.append(self._chain[0].start)
            # Those that its pieces, taken as words, ended: the word that they spell may yet go on with them.
            starts += [partial.start for partial in self._chain[0].live]
        if self._word and len(self._word) <= _UNREADABLE:
            starts.append(self._start)
        return min(starts, default=self._position)

    def _extend_word(self, folded: str) -> None:
        if not self._word:
            self._start = self._position
        # Neither a run nor a word without end may fill the memory.
        if self._word[-3:] != 3 * folded and len(self._word) <= _UNREADABLE:
            self._word += folded
        if folded != "!":
            self._end = self._position + 1

    def _separate(self, weight: int) -> None:
        self._separators += weight
        if self._chain and not self._joins(""):
            self._chain = []

    def _joins(self, word: str) -> bool:
        # "b-omb" and "b.o.m.b" by one mark; "b o m b" and "b * o * m * b" by anything, if the pieces are letters.
        return self._separators <= 1 or (len(word) <= 1 and len(self._chain[-1].text) == 1)

    def _end_word(self) -> None:
        word, self._word = self._word.rstrip("!"), ""
        if self._chain and not self._joins(word):
            self._chain = []
        self._chain = [*self._chain[1 - _CHAIN :], _Fragment(word, self._start, self._live)]
        self._separators = 0
        # The same place in the rules reached twice counts once, from the earlier start.
        live: dict[tuple[_Node, int], _Partial] = {}
        passed = (partial._replace(skips=partial.skips - 1) for partial in self._live if partial.skips)
        for partial in (*passed, *self._advanced()):
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
    """Return where all rules begin, and all their words. Rules that begin alike share their nodes."""
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
    """Yield the sequences of words that a rule stands for; words that are each other's alternatives go as one step."""
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
    """Yield the alternatives of an element: a word, words_of_a_phrase, <a group of such>, or several|of|them."""
    for part in element.split("|"):
        if part.startswith("<"):
            name = part[1:-1]
            if name not in groups:
                raise ValueError(f"{part} is no group of the safety rules")
            for member in groups[name].split():
                yield from _phrases(member, groups)
        else:
            yield tuple(part.split("_"))


def _squeeze(word: str) -> str:
    return _RUN.sub(r"\1", word)


def read_data(name: str) -> dict[str, Any]:
    """Return the content of a YAML file in the folder of this package."""
    text = (resources.files("minimal_llm.inference.safety") / name).read_text(encoding="utf-8")
    # The C loader reads the rules ten times as fast; not every PyYAML has it.
    content: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return content
