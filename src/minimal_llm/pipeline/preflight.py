"""Everything that can be known to go wrong before anything is downloaded or deleted, in one list.

python -m minimal_llm.preflight
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.common.system import available_memory_mb
from minimal_llm.corpus.gutenberg import mirrors_from_environment
from minimal_llm.corpus.text_files import expand
from minimal_llm.pipeline.memory_estimate import less_memory, parameter_estimate, training_memory_mb

OLDEST_PYTHON = (3, 11)
REQUIREMENTS = Path("requirements.txt")
LEAST_FREE_DISK_MB = 500
MIRROR_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was found, and where it will not do, the remedy."""

    check: str
    detail: str
    remedy: str | None = None


def run_checks(config: Config, artifacts: Artifacts) -> list[Finding]:
    """Return the findings of all checks; nothing is changed on disk and no check stops another."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_packages,
        lambda: check_disk(config, artifacts),
        lambda: check_memory(config),
        lambda: check_write_access(artifacts),
        check_git,
        check_dvc,
        lambda: check_corpus_source(config, artifacts),
        lambda: check_initial_model(config, artifacts),
    ]
    return [finding for check in checks for finding in check()]


def require(findings: list[Finding]) -> None:
    """Raise ConfigurationError with all problems and their remedies, if there are any."""
    problems = [finding for finding in findings if finding.remedy]
    if problems:
        lines = "\n".join(f"  - {p.check}: {p.detail}\n      {p.remedy}" for p in problems)
        raise ConfigurationError(
            f"{len(problems)} prerequisite(s) missing:\n{lines}", remedy="see each line; then: make check"
        )


def check_python() -> Iterator[Finding]:
    """Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    remedy = (
        None if sys.version_info >= OLDEST_PYTHON else f"install Python {wanted} or newer, then: make setup PYTHON=..."
    )
    yield Finding("python", version, remedy)


def check_packages() -> Iterator[Finding]:
    """Every package of requirements.txt is there in its version."""
    try:
        pins = dict(
            re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
        )
    except OSError:
        yield Finding("packages", f"{REQUIREMENTS} cannot be read", "git checkout requirements.txt")
        return
    wrong = []
    for name, wanted in pins.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} {wanted} is missing")
            continue
        if found.split("+")[0] != wanted:  # torch says 2.13.0+cpu
            wrong.append(f"{name} is {found}, not {wanted}")
    yield Finding("packages", "; ".join(wrong) or f"{len(pins)} as pinned", "make setup" if wrong else None)


def check_disk(config: Config, artifacts: Artifacts) -> Iterator[Finding]:
    """There is room for what this configuration writes."""
    needed = max(LEAST_FREE_DISK_MB, disk_needed_mb(config))
    free = shutil.disk_usage(_existing(artifacts.root)).free / 1e6
    remedy = None if free >= needed else f"free {needed - free:,.0f} MB: make clean, dvc gc --workspace"
    yield Finding("disk", f"{free:,.0f} MB free, this configuration needs {needed:,.0f} MB", remedy)


def disk_needed_mb(config: Config) -> float:
    """Return the estimated size of all that a run writes, in MB.

    Corpus, tokens and model files stand in data/ and in DVC's cache; a checkpoint holds four copies of the weights
    (weights, two moments of AdamW, best weights), and one is written beside those that are kept.
    """
    corpus = (
        config.download.primer_megabytes
        if config.download.source == "primer"
        else 2 * config.download.megabytes_per_language
    )
    weights = parameter_estimate(config) * 4 / 1e6
    kept = config.train.epochs // config.train.checkpoint_every_epochs + 2
    raw_books = 3 * corpus
    return raw_books + 2 * (2 * corpus + 2 * weights) + kept * 4 * weights


def check_memory(config: Config) -> Iterator[Finding]:
    """The model, its optimizer and a batch fit into the memory that is free."""
    needed, free = training_memory_mb(config), available_memory_mb()
    remedy = None if free >= needed else f"close other programs, or: {less_memory(config)[1]}"
    yield Finding("memory", f"{free:,.0f} MB free, training needs about {needed:,.0f} MB", remedy)


def check_write_access(artifacts: Artifacts) -> Iterator[Finding]:
    """The data folder can be written."""
    folder = _existing(artifacts.root)
    probe = folder / ".write-test"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Finding("write access", f"{folder.resolve()}: {error.strerror}", f"chmod u+w {folder.resolve()}")
        return
    yield Finding("write access", str(folder.resolve()))


def check_git() -> Iterator[Finding]:
    """This is a git repository with a commit: DVC works in no other."""
    if shutil.which("git") is None:
        yield Finding("git", "the command git is not found", "install git")
        return
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        remedy = (
            "clone it with git clone (a zip download has no history), or: git init && git add . && git commit -m start"
        )
        yield Finding("git", "this folder is not a git repository with a commit", remedy)
        return
    yield Finding("git", f"at commit {done.stdout.strip()}")


def check_dvc() -> Iterator[Finding]:
    """DVC is set up here and its command is the one of this environment."""
    command = shutil.which("dvc")
    if command is None:
        yield Finding("dvc", "the command dvc is not found", "make setup, and start everything with make")
    elif not Path(".dvc/config").exists():
        yield Finding("dvc", ".dvc/config is missing", "git checkout .dvc")
    else:
        yield Finding("dvc", f"{importlib.metadata.version('dvc')} at {command}")


def check_corpus_source(config: Config, artifacts: Artifacts) -> Iterator[Finding]:
    """The corpus can be had: files exist, or a mirror answers, or the books are here, or the primer may stand in."""
    source = config.download.source
    try:
        if source == "files":
            files = expand(config.download.files)
            yield Finding("corpus", f"{len(files)} file(s)")
        elif source == "primer":
            yield Finding("corpus", "the embedded primer")
        else:
            yield _check_mirrors(mirrors_from_environment(), config, artifacts)
    except MinimalLlmError as error:
        yield Finding("corpus", error.message, error.remedy)


def check_initial_model(config: Config, artifacts: Artifacts) -> Iterator[Finding]:
    """The model to start from, if one is named, is there and will still be there when training starts."""
    path = Path(config.train.init_from)
    if not config.train.init_from:
        return
    if path.resolve() in (artifacts.best_model.resolve(), artifacts.final_model.resolve()):
        yield Finding("init_from", f"DVC deletes {path} before it trains", f"copy it first: cp {path} base.pt")
    elif not path.is_file():
        yield Finding(
            "init_from", f"there is no file {path}", "name a model file in train.init_from, or leave it empty"
        )
    else:
        yield Finding("init_from", str(path))


def _check_mirrors(mirrors: tuple[str, ...], config: Config, artifacts: Artifacts) -> Finding:
    if any(artifacts.raw_books.glob("*")):
        return Finding("corpus", f"books downloaded before are kept in {artifacts.raw_books}")
    reached = next((mirror for mirror in mirrors if _answers(mirror)), None)
    if reached:
        return Finding("corpus", f"mirror {reached} answers")
    if config.download.offline_fallback:
        return Finding("corpus", "no mirror can be reached: the embedded primer will take the place of the books")
    remedy = "connect, set GUTENBERG_MIRRORS, or: dvc exp run -S download.source=primer"
    return Finding("corpus", f"no mirror can be reached ({', '.join(mirrors)})", remedy)


def _answers(mirror: str) -> bool:
    parts = urlsplit(mirror)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=MIRROR_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def print_findings(findings: list[Finding]) -> None:
    """Print a line a check."""
    for finding in findings:
        print(f"  {'ok ' if finding.remedy is None else 'NO '} {finding.check:13} {finding.detail}", flush=True)


def main() -> int:
    """Check the default configuration; return the exit code."""
    try:
        config = load_config()
        findings = run_checks(config, Artifacts(tokenizer_name=config.tokenizer.name))
        print_findings(findings)
        require(findings)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
