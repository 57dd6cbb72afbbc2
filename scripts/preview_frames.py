"""Shows stories of the primer's frames and checks the frames, for authors of new ones.

python scripts/preview_frames.py --frame adv_fog_bell --count 3 --seed 7
python scripts/preview_frames.py --check
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from minimal_llm.corpus.languages import LANGUAGES
from minimal_llm.corpus.primer.documents import primer_documents
from minimal_llm.corpus.primer.frames import Frame, frame_files, load_frame
from minimal_llm.corpus.primer.grammar.data import PrimerDataError
from minimal_llm.corpus.primer.grammar.lexicon import load_lexicon
from minimal_llm.corpus.primer.text import sentences
from minimal_llm.corpus.primer.writer import StoryWriter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.agreement.check import check_agreement

_MOST_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 1 if a frame has problems."""
    parser = argparse.ArgumentParser(description="Show stories of a frame, or check frames.")
    parser.add_argument("--frame", action="append", metavar="ID", help="the frame to show or check (repeatable)")
    parser.add_argument("--count", type=int, default=3, help="number of stories to show (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the stories (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="check the frames given with --frame, or all frames")
    parser.add_argument(
        "--megabytes", type=float, default=0.0, help="with --check: count repeated sentences in a corpus of this size"
    )
    options = parser.parse_args(arguments)
    frames, broken = _load(options.frame)
    for line in broken:
        _say(line)
    if options.check:
        return _check(frames, bool(broken), options.megabytes, options.seed)
    if not options.frame:
        parser.error("--frame ID or --check is required")
    _show(frames, options.count, options.seed)
    return 1 if broken else 0


def _load(ids: list[str] | None) -> tuple[list[Frame], list[str]]:
    frames: list[Frame] = []
    broken: list[str] = []
    lexicon = load_lexicon()
    files = [file for file in frame_files() if ids is None or file.name.removesuffix(".yaml") in ids]
    for file in files:
        try:
            frames.append(load_frame(file, lexicon))
        except PrimerDataError as error:
            broken.append(f"{error.where}: {error.problem}")
    missing = set(ids or ()) - {file.name.removesuffix(".yaml") for file in files}
    broken += [f"no frame named {name!r} in story_frames" for name in sorted(missing)]
    return frames, broken


def _show(frames: list[Frame], count: int, seed: int) -> None:
    for frame in frames:
        stories = StoryWriter([frame], seed).stories()
        for _ in range(count):
            story = next(stories)
            for language in LANGUAGES:
                _say(f"--- {frame.id} ({frame.kind}, {language}): {story.title[language]}")
                for paragraph in story.paragraphs[language]:
                    _say(f"  {paragraph}")
        for problem in frame.problems():
            _say(f"!! {problem}")


def _check(frames: list[Frame], broken: bool, megabytes: float, seed: int) -> int:
    problems = [problem for frame in frames for problem in frame.problems()]
    for frame in frames:
        problems += _agreement_problems(frame, seed)
    for problem in problems:
        _say(problem)
    kinds = Counter(frame.kind for frame in frames)
    _say(f"{len(frames)} frames: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
    if megabytes and not broken:
        _count(megabytes, seed)
    return 1 if problems or broken else 0


def _agreement_problems(frame: Frame, seed: int) -> list[str]:
    stories = StoryWriter([frame], seed).stories()
    found: list[str] = []
    for _ in range(20):
        story = next(stories)
        for language in LANGUAGES:
            result = check_agreement("\n".join(story.paragraphs[language]), language)
            found += [f"{frame.id} ({language}): agreement: {example}" for example in result.errors]
    return sorted(set(found))[:_MOST_SHOWN]


def _count(megabytes: float, seed: int) -> None:
    documents = list(primer_documents(megabytes, seed))
    for language in LANGUAGES:
        counts = Counter(
            sentence
            for document in documents
            if document.language == language
            for paragraph in document.paragraphs
            for sentence in sentences(paragraph)
        )
        total = counts.total()
        repeated = total - len(counts)
        _say(f"{language}: {total:,} sentences, {repeated} repeated ({repeated / total:.2%})")
        for sentence, count in counts.most_common(_MOST_SHOWN):
            if count > 1:
                _say(f"  {count} x {sentence}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
