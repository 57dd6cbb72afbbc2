"""Runs a target of tests/campaign/fuzz_targets_*.py under atheris, which looks for inputs that reach new code.

    python -m venv /tmp/atheris && /tmp/atheris/bin/pip install atheris     # once
    export PYTHONPATH=src:.venv/lib/python3.11/site-packages                # of the same Python
    /tmp/atheris/bin/python -m tests.campaign.fuzz cleaning -max_total_time=600

Without a target it lists them. Several, "charset,cleaning", take turns. What follows goes to libFuzzer
(-help=1). An input that fails is written to crash-*; add it to the tests of its module as a fixed example.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MODULES = [f"tests.campaign.{path.stem}" for path in sorted(Path(__file__).parent.glob("fuzz_targets_*.py"))]

Target = Callable[[bytes], None]


def load() -> tuple[dict[str, Target], Callable[[str], list[bytes]]]:
    """Return the targets of all modules by name, and a function that returns the seeds of one."""
    modules = [importlib.import_module(name) for name in MODULES]
    targets = {name: target for module in modules for name, target in module.TARGETS.items()}
    seeds = {name: module.seeds for module in modules for name in module.TARGETS}
    return targets, lambda name: list(seeds[name](name))


def in_turn(targets: list[Target]) -> Target:
    """Return a target that passes what follows the first byte on to the one which that byte chooses."""
    if len(targets) == 1:
        return targets[0]
    return lambda data: targets[data[0] % len(targets)](data[1:]) if data else None


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")  # in an environment of its own
    with atheris.instrument_imports(include=["minimal_llm"]):
        targets, seeds = load()
    if not arguments:
        print("\n".join(targets))
        return
    names = arguments[0].split(",")
    with tempfile.TemporaryDirectory() as corpus:
        for number, name in enumerate(names):
            prefix = bytes([number]) if len(names) > 1 else b""
            for index, seed in enumerate(seeds(name)):
                (Path(corpus) / f"{number}-{index}").write_bytes(prefix + seed)
        atheris.Setup([sys.argv[0], corpus, *arguments[1:]], in_turn([targets[name] for name in names]))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
