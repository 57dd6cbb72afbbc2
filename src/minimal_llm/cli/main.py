"""`minimal-llm`: write with a trained model, look at it, export it, measure it.

minimal-llm generate "Once upon a time"
minimal-llm generate -i
minimal-llm info
minimal-llm export --format onnx
minimal-llm bench
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from minimal_llm.cli.generate import Written, new_seed, write, write_many
from minimal_llm.common.errors import EXIT_INTERRUPTED, ConfigurationError, MinimalLlmError
from minimal_llm.export.export import FORMATS
from minimal_llm.inference.runtime import Runtime, load_runtime
from minimal_llm.inference.sampling import Sampling

MODEL = Path("data/best_model.pt")
DEFAULTS = Sampling()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as head, has had enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minimal-llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_generate(commands.add_parser("generate", help="continue a text"))
    info = commands.add_parser("info", help="what a model is and how it was trained")
    _add_model(info)
    info.add_argument("--json", action="store_true", help="one JSON object on stdout")
    info.set_defaults(run=_info)
    export = commands.add_parser("export", help="write the model in the format of another program")
    _add_model(export)
    export.add_argument("--format", required=True, choices=sorted(FORMATS))
    export.add_argument("-o", "--output", type=Path, help="the folder to write (default: export/FORMAT)")
    export.set_defaults(run=_export)
    bench = commands.add_parser("bench", help="measure speed and memory in a fresh process")
    _add_model(bench)
    bench.set_defaults(run=_bench)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=MODEL, metavar="PATH", help=f"a model file (default: {MODEL})")
    parser.add_argument("-t", "--threads", type=_whole(1), default=1, metavar="N", help="default: 1, the fastest here")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", help="the prompt; or -p, --file, or stdin")
    parser.add_argument("-p", "--prompt", help="the prompt")
    parser.add_argument("--file", type=Path, help="read the prompt from a file (- is stdin)")
    parser.add_argument("-i", "--interactive", action="store_true", help="ask for one prompt after another")
    parser.add_argument("-n", "--predict", type=_whole(1), default=128, metavar="N", help="tokens at most (128)")
    parser.add_argument("--n-samples", type=_whole(1), default=1, metavar="N", help="texts to write at once (1)")
    parser.add_argument("--temp", type=float, default=DEFAULTS.temperature, help="temperature; 0 is greedy (0.8)")
    parser.add_argument("--top-k", type=int, default=DEFAULTS.top_k, help="candidates; 0: all (40)")
    parser.add_argument("--top-p", type=float, default=DEFAULTS.top_p, help="share of probability to keep; 1: all (1)")
    parser.add_argument("--min-p", type=float, default=DEFAULTS.min_p, help="least share of the likeliest (0)")
    parser.add_argument("--repeat-penalty", type=float, default=DEFAULTS.repeat_penalty, help="1: none (1)")
    parser.add_argument("--repeat-last-n", type=int, default=DEFAULTS.repeat_last_n, help="tokens it looks at (64)")
    parser.add_argument("-s", "--seed", type=int, help="equal seeds give equal texts (default: a new one each time)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.add_argument("--no-safety", action="store_true", help="switch the filter off (docs/SAFETY.md)")
    _add_model(parser)
    parser.set_defaults(run=_generate)


def _whole(least: int) -> Any:
    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return parse


@dataclass(frozen=True)
class Job:
    """What a command line asks to be written, whatever the prompt."""

    runtime: Runtime
    tokens: int
    sampling: Sampling
    safe: bool


def _generate(options: argparse.Namespace) -> int:
    prompt = None if options.interactive else _prompt(options)  # before the model: a wrong one answers at once
    sampling = Sampling(
        temperature=options.temp,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repeat_penalty=options.repeat_penalty,
        repeat_last_n=options.repeat_last_n,
        seed=new_seed() if options.seed is None else options.seed,
    )
    job = Job(load_runtime(options.model, options.threads), options.predict, sampling, safe=not options.no_safety)
    if prompt is None:
        return _converse(job)
    if options.n_samples > 1:
        return _write_many(job, prompt, options.n_samples, as_json=options.json)
    stream = None if options.json else sys.stdout
    written = _write(job, prompt, stream)
    if options.json:
        print(json.dumps(written.as_json(), ensure_ascii=False))
    return 0


def _prompt(options: argparse.Namespace) -> str:
    given = [text for text in (options.text, options.prompt) if text is not None]
    if len(given) + (options.file is not None) > 1:
        raise ConfigurationError("more than one prompt is given", remedy="give one: TEXT, -p TEXT, or --file PATH")
    if given:
        return str(given[0])
    try:
        if options.file is not None and str(options.file) != "-":
            return str(options.file.read_text(encoding="utf-8")).removesuffix("\n")
        if options.file is None and sys.stdin.isatty():
            raise ConfigurationError("there is no prompt", remedy='minimal-llm generate "Once upon a time", or -i')
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except OSError as error:
        raise ConfigurationError(f"{options.file} cannot be read: {error.strerror}", remedy="name a file") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the prompt is not UTF-8: {error}", remedy="convert it: iconv -t UTF-8") from error


def _write(job: Job, prompt: str, stream: TextIO | None) -> Written:
    written = write(job.runtime, prompt, job.tokens, job.sampling, stream, safe=job.safe)
    print(written.summary(), file=sys.stderr)
    return written


def _write_many(job: Job, prompt: str, count: int, *, as_json: bool) -> int:
    many = write_many(job.runtime, prompt, job.tokens, job.sampling, count, safe=job.safe)
    if as_json:
        print(json.dumps(many.as_json(), ensure_ascii=False))
    else:
        print("\n---\n".join(prompt + text for text in many.texts))
    print(many.summary(), file=sys.stderr)
    return 0


def _converse(job: Job) -> int:
    with contextlib.suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  # gives input() line editing and a history
    print("A text to continue, then Enter. Ctrl+C stops a text, Ctrl+D ends.", file=sys.stderr)
    turn = 0
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            continue
        if not prompt:
            continue
        sampling = Sampling(**{**asdict(job.sampling), "seed": (job.sampling.seed + turn) % 2**63})
        turn += 1
        try:
            _write(Job(job.runtime, job.tokens, sampling, job.safe), prompt, sys.stdout)
        except KeyboardInterrupt:
            print()
        except MinimalLlmError as error:
            print(f"error: {error}", file=sys.stderr)


def _info(options: argparse.Namespace) -> int:
    runtime = load_runtime(options.model, options.threads)
    facts: dict[str, Any] = {
        "model": str(options.model),
        "engine": runtime.engine,
        **runtime.description,
        "tokenizer_sha256": runtime.tokenizer.sha256,
        "file_mb": round(_size(options.model) / 1e6, 2),
        **_training_result(options.model.parent),
    }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:{width}}  {value}" for name, value in facts.items()))
    return 0


def _size(model: Path) -> int:
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def _training_result(folder: Path) -> dict[str, Any]:
    """Return what training wrote beside the model, if it lies there."""
    path = folder / "training_metrics.json"
    if not path.exists():
        return {}
    metrics = json.loads(path.read_text(encoding="utf-8"))
    final = metrics["final_metrics"]
    names = ("parameters", "epochs", "best_epoch", "val_loss", "val_perplexity", "val_bits_per_byte")
    corpus = metrics["corpus"]["source"] + (" (fallback)" if metrics["corpus"]["fallback"] else "")
    return {"run_id": metrics["run_id"], "corpus": corpus, **{name: final[name] for name in names}}


def _export(options: argparse.Namespace) -> int:
    from minimal_llm.export.export import export

    output = options.output or Path("export") / options.format
    tokenizer = _tokenizer_path(options.model)
    export(options.model, tokenizer, options.model.parent, options.format, output)
    print(f"wrote {output}: " + ", ".join(sorted(path.name for path in output.iterdir())))
    return 0


def _tokenizer_path(model: Path) -> Path:
    from minimal_llm.inference.runtime import find_tokenizer_file
    from minimal_llm.model.model_file import load_model

    return find_tokenizer_file(model.parent, load_model(model).tokenizer_sha256, model)


def _bench(options: argparse.Namespace) -> int:
    from minimal_llm.inference.benchmark import measure_in_fresh_process

    print(json.dumps(measure_in_fresh_process(options.model, options.threads).metrics, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
