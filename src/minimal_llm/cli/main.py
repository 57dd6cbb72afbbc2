"""The command line: `minimal-llm COMMAND [options]`. Errors become messages and exit codes here, for all commands.

A command imports what it needs when it runs. So --help answers at once, and a device that only generates loads neither
torch nor DVC nor pydantic.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from minimal_llm import __version__
from minimal_llm.cli.commands import GROUPS, Command
from minimal_llm.common.errors import EXIT_INTERRUPTED, ConfigurationError, MinimalLlmError
from minimal_llm.common.output import outlive_readers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process; return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options, unknown = build_parser().parse_known_args(given or ["--help"])
        command: Command = options.command
        if unknown:  # argparse would name the help of minimal-llm, not that of the command
            raise ConfigurationError(
                f"unrecognized arguments: {' '.join(unknown)}", remedy=f"minimal-llm {command.name} --help"
            )
        if not command.anywhere:
            _enter_clone()
            outlive_readers()
        return command.run(options)
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("minimal_llm"):
            raise
        package = error.name.partition(".")[0]
        print(f"error: this command needs the package {package}, which is not installed", file=sys.stderr)
        print(f"  What to do: make setup in a clone, elsewhere: pip install {package}", file=sys.stderr)
        return ConfigurationError.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are those of this project: what is wrong, what to do, exit code 1."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message, remedy=f"{self.prog} --help")


class _Root(_Parser):
    """The parser of `minimal-llm` itself: its help lists the commands by group."""

    def format_help(self) -> str:
        parts = ["usage: minimal-llm COMMAND [options]\n", f"{self.description}\n"]
        for title, commands in GROUPS.items():
            parts += [f"{title}:", *(f"  {command.name:11} {command.help}" for command in commands), ""]
        return "\n".join([*parts, f"{self.epilog}\n"])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands: its namespace holds the Command, the parser itself and the options."""
    parser = _Root(
        prog="minimal-llm",
        allow_abbrev=False,
        description="Train a tiny bilingual language model from scratch on a CPU, and use it.",
        epilog="Example: minimal-llm train --epochs 5\nThe options of a command: minimal-llm COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in (command for group in GROUPS.values() for command in group):
        added = commands.add_parser(
            command.name,
            help=command.help,
            usage=f"minimal-llm {command.name} {command.usage}".rstrip(),
            description=f"{command.help}.",
            epilog=f"Example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(added)
        added.set_defaults(command=command, parser=parser)
    return parser


def _enter_clone() -> None:
    """Check that this is a clone of the repository, and let dvc and python be those of this environment."""
    if not Path("dvc.yaml").exists():
        raise ConfigurationError(
            f"{Path.cwd()} is not a clone of minimal-llm: it has no dvc.yaml",
            remedy="cd to your clone, then run it again",
        )
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # DVC keeps pickles there, by default in /var/tmp/dvc, where every user of the machine can change them.
    os.environ.setdefault("DVC_SITE_CACHE_DIR", str(Path(".dvc/tmp/site").resolve()))


if __name__ == "__main__":
    sys.exit(main())
