"""The command `generate`: a prompt from the command line, a file, stdin or a conversation, and its continuation."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from minimal_llm.cli.arguments import add_path, add_runtime, whole_number
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError

if TYPE_CHECKING:  # numpy and SentencePiece come with these: --help does without
    from minimal_llm.inference.runtime import Runtime
    from minimal_llm.inference.sampling import Sampling

# Options of Sampling's settings: flag, setting, type, help. One that is not given has the default of the setting.
SAMPLING: tuple[tuple[str, str, Callable[[str], float], str], ...] = (
    ("--temp", "temperature", float, "temperature; 0: always the most likely token (default: 0.8)"),
    ("--top-k", "top_k", int, "choose from the K most likely tokens; 0: from all (default: 40)"),
    ("--top-p", "top_p", float, "choose from the most likely tokens that sum to probability P (default: 1.0, all)"),
    ("--min-p", "min_p", float, "least probability, relative to the most likely token (default: 0.0)"),
    ("--repeat-penalty", "repeat_penalty", float, "penalty on recent tokens (default: 1.0, none)"),
    ("--repeat-last-n", "repeat_last_n", int, "how many tokens are recent (default: 64)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `generate`. They mean what they mean in llama.cpp."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the prompt (or -p, --file, or stdin)")
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="the prompt")
    add_path(parser, "--file", type=Path, metavar="PATH", help="read the prompt from a file (- is stdin)")
    parser.add_argument("-i", "--interactive", action="store_true", help="ask for one prompt after another")
    parser.add_argument(
        "-n", "--predict", type=whole_number(1), default=128, metavar="N", help="at most N tokens (default: 128)"
    )
    parser.add_argument(
        "--n-samples", type=whole_number(1, 1000), default=1, metavar="N", help="write N texts at once (default: 1)"
    )
    parser.add_argument("-s", "--seed", type=int, metavar="N", help="equal seeds give equal texts (default: random)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-safety", action="store_true", help="turn the safety filter off (docs/SAFETY.md)")
    group = parser.add_argument_group("sampling")
    for flag, name, kind, text in SAMPLING:
        group.add_argument(flag, dest=name, type=kind, default=argparse.SUPPRESS, metavar=flag[-1].upper(), help=text)
    add_runtime(parser)


def run(options: argparse.Namespace) -> int:
    """Continue a prompt, or one after another; return 0.

    Raises:
        ConfigurationError: there is no prompt, more than one, one that cannot be read, or an option is out of range.
        BlockedError: the safety filter refuses the prompt.
        ValidationError: as `load_runtime`.
    """
    prompt = None if options.interactive else _prompt(options)  # before the model: a wrong one is refused at once
    from minimal_llm.inference.runtime import load_runtime
    from minimal_llm.inference.sampling import Sampling

    names = {name for _, name, _, _ in SAMPLING}
    chosen = {name: value for name, value in vars(options).items() if name in names}
    sampling = Sampling(seed=secrets.randbelow(2**32) if options.seed is None else options.seed, **chosen)
    job = _Job(load_runtime(options.model, options.threads), options.predict, sampling, safe=not options.no_safety)
    if prompt is None:
        _converse(job)
    elif options.json or options.n_samples > 1:
        _write_samples(job, prompt, options.n_samples, as_json=options.json)
    else:
        job.write(prompt, sys.stdout)
    return 0


@dataclass(frozen=True)
class _Job:
    """What to write, whatever the prompt."""

    runtime: Runtime
    tokens: int
    sampling: Sampling
    safe: bool

    def write(self, prompt: str, stream: TextIO) -> None:
        """Write the prompt and its continuation to `stream` as it comes, and the measurements to stderr."""
        from minimal_llm.cli.writer import write

        written = write(self.runtime, prompt, self.tokens, self.sampling, stream, safe=self.safe)
        print(written.summary(), file=sys.stderr)


def _prompt(options: argparse.Namespace) -> str:
    given = [text for text in (options.text, options.prompt) if text is not None]
    if len(given) + (options.file is not None) > 1:
        raise ConfigurationError("more than one prompt is given", remedy="give one: TEXT, -p TEXT, or --file PATH")
    try:
        if given:
            return _utf8(given[0])
        if options.file is not None and str(options.file) != "-":
            return str(options.file.read_text(encoding="utf-8")).removesuffix("\n")
        if options.file is None and sys.stdin.isatty():
            raise ConfigurationError("there is no prompt", remedy='minimal-llm generate "Once upon a time", or -i')
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except OSError as error:
        raise ConfigurationError(
            f"{options.file} cannot be read: {error.strerror}", remedy="give the path of a text file"
        ) from error
    except UnicodeError as error:
        raise ConfigurationError(f"the prompt is not UTF-8: {error}", remedy="convert it: iconv -t UTF-8") from error


def _utf8(text: str) -> str:
    """Return a text of the terminal or a command line; where bytes of it are not UTF-8, raise UnicodeError."""
    return os.fsencode(text).decode("utf-8")  # such bytes arrive as lone surrogates


def _write_samples(job: _Job, prompt: str, count: int, *, as_json: bool) -> None:
    from minimal_llm.cli.writer import write_many

    written = write_many(job.runtime, prompt, job.tokens, job.sampling, count, safe=job.safe)
    if as_json:
        print(json.dumps(written.as_json(), ensure_ascii=False))
    else:
        print("\n---\n".join(prompt + text for text in written.texts))
    print(written.summary(), file=sys.stderr)


def _converse(job: _Job) -> None:
    with contextlib.suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  # gives input() line editing and a history
    print("Type a text to continue, then Enter. Ctrl+C stops a text, Ctrl+D quits.", file=sys.stderr)
    turn = 0
    while True:
        try:
            prompt = _utf8(input("> "))
        except UnicodeError as error:
            print(f"error: the prompt is not UTF-8: {error}", file=sys.stderr)
            continue
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        if not prompt:
            continue
        sampling = replace(job.sampling, seed=(job.sampling.seed + turn) % 2**63)
        turn += 1
        try:
            replace(job, sampling=sampling).write(prompt, sys.stdout)
        except KeyboardInterrupt:
            print()
        except MinimalLlmError as error:
            print(f"error: {error}", file=sys.stderr)
