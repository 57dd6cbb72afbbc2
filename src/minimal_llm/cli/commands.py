"""All commands: what their help shows, their options, and what they call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minimal_llm.cli import generate, model
from minimal_llm.cli.arguments import PATH_COMPLETION, add_parameters, add_path, add_run

Parser = argparse.ArgumentParser
Options = argparse.Namespace

INSTALL_COMPLETION = """
To install it, run the line for your shell and open a new terminal. The folder must exist.
  minimal-llm completion bash > ~/.local/share/bash-completion/completions/minimal-llm
  minimal-llm completion zsh > ~/.zfunc/_minimal-llm    # ~/.zshrc needs fpath+=~/.zfunc before compinit
  minimal-llm completion fish > ~/.config/fish/completions/minimal-llm.fish"""


class Command(NamedTuple):
    """A command. `run` returns the exit code; unless `anywhere`, the command works in a clone of the repository."""

    name: str
    help: str
    example: str
    run: Callable[[Options], int]
    add_arguments: Callable[[Parser], None] = lambda _parser: None
    usage: str = ""
    anywhere: bool = False


def _check(_options: Options) -> int:
    from minimal_llm.pipeline.preflight import check

    return check()


def _train(options: Options) -> int:
    from minimal_llm.pipeline.overrides import overrides_from
    from minimal_llm.pipeline.repro import run_pipeline

    return run_pipeline(overrides_from(vars(options)), options.resume)


def _status(_options: Options) -> int:
    from minimal_llm.pipeline.status_table import show_status

    return show_status()


def _watch(_options: Options) -> int:
    from minimal_llm.experiments.watch import watch

    return watch()


def _verify(_options: Options) -> int:
    from minimal_llm.pipeline.verify import verify

    return verify()


def _clean(_options: Options) -> int:
    from minimal_llm.pipeline.clean import clean

    return clean()


def _compare(_options: Options) -> int:
    from minimal_llm.experiments.compare_table import compare

    return compare()


def _sweep(options: Options) -> int:
    from minimal_llm.experiments.sweep import GRID, run_sweep
    from minimal_llm.pipeline.overrides import overrides_from

    return run_sweep(options.grid or GRID, options.jobs, overrides_from(vars(options)), options.seeds)


def _example(options: Options) -> int:
    from minimal_llm.experiments.example import list_examples, run_example
    from minimal_llm.pipeline.overrides import overrides_from

    if options.name is None:
        print(f"Recipes in examples/. To run one: make example NAME=quick-test\n\n{list_examples()}")
        return 0
    return run_example(options.name, overrides_from(vars(options)), options.resume, options.jobs)


def _share(options: Options) -> int:
    from minimal_llm.experiments.share import share

    share(options.remote)
    return 0


def _completion(options: Options) -> int:
    import shtab

    PATH_COMPLETION.update(shtab.FILE)
    print(shtab.complete(options.parser, options.shell))
    return 0


def _add_jobs(parser: Parser, text: str) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=text)


def _add_sweep(parser: Parser) -> None:
    add_path(parser, "--grid", type=Path, metavar="PATH", help="a YAML file of values (default: examples/sweep.yaml)")
    _add_jobs(parser, "experiments at a time (default: 1)")
    told = "run each combination with so many seeds, which make compare averages (default: 1)"
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help=told)
    add_parameters(parser)


def _add_example(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a recipe; without one, they are listed")
    _add_jobs(parser, "experiments at a time, in the recipe sweep (default: 1)")
    add_run(parser)


def _add_share(parser: Parser) -> None:
    remotes = "a folder, ssh://user@host/path or s3://bucket/path (default: the remote used before)"
    add_path(parser, "remote", nargs="?", default="", metavar="REMOTE", help=remotes)


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    parser.epilog = f"{parser.epilog}\n{INSTALL_COMPLETION}"


GROUPS = {
    "The pipeline": [
        Command("check", "Check parameters and prerequisites", "minimal-llm check", _check),
        Command(
            "train",
            "Run the whole pipeline: download, tokenizer, train, validate",
            "minimal-llm train --epochs 10 --learning-rate 0.001 --corpus-path /path/to/text.txt",
            _train,
            add_run,
            "[options]",
        ),
        Command("watch", "Show training live, from another terminal", "minimal-llm watch", _watch),
        Command("status", "Show what the last run did and what DVC would run now", "minimal-llm status", _status),
        Command("verify", "Train again and compare with the recorded result", "minimal-llm verify", _verify),
        Command("clean", "Delete what the pipeline made, after asking", "minimal-llm clean", _clean),
    ],
    "Experiments": [
        Command(
            "compare", "Compare the workspace, the last commit and all experiments", "minimal-llm compare", _compare
        ),
        Command(
            "sweep",
            "Run every combination of a grid of parameters",
            "minimal-llm sweep --grid examples/sweep.yaml --jobs 2",
            _sweep,
            _add_sweep,
            "[options]",
        ),
        Command(
            "example",
            "Run a recipe of examples/, or list them",
            "minimal-llm example low-memory --epochs 5",
            _example,
            _add_example,
            "[NAME] [options]",
        ),
        Command(
            "share",
            "Push the results for others to pull",
            "minimal-llm share /path/to/a/folder",
            _share,
            _add_share,
            "[REMOTE]",
        ),
    ],
    "The model": [
        Command(
            "generate",
            "Continue a text",
            'minimal-llm generate "Once upon a time" -n 60 --temp 0.7',
            generate.run,
            generate.add_arguments,
            "[TEXT] [options]",
            anywhere=True,
        ),
        Command(
            "info",
            "Show what a model is and how it was trained",
            "minimal-llm info --model runs/quick/best_model.pt",
            model.info,
            model.add_info,
            "[options]",
            anywhere=True,
        ),
        Command(
            "export",
            "Write the model in the format of another program",
            "minimal-llm export --format onnx-int8",
            model.export,
            model.add_export,
            "--format FORMAT [options]",
            anywhere=True,
        ),
        Command(
            "bench",
            "Measure speed and memory in a fresh process",
            "minimal-llm bench --model export/onnx-int8",
            model.bench,
            model.add_bench,
            "[options]",
            anywhere=True,
        ),
    ],
    "The shell": [
        Command(
            "completion",
            "Print a script that completes commands and options",
            'eval "$(minimal-llm completion bash)"    # for this terminal',
            _completion,
            _add_completion,
            "SHELL",
            anywhere=True,
        ),
    ],
}
