"""Everything that can be known to fail before anything is downloaded or deleted, in one list."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from requests.utils import get_environ_proxies, select_proxy

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, DownloadConfig, load_config
from minimal_llm.common.errors import ConfigurationError, MinimalLlmError
from minimal_llm.common.system import available_memory_mb
from minimal_llm.corpus.gutenberg import cached_book, mirrors_from_environment
from minimal_llm.corpus.languages import Language
from minimal_llm.corpus.text_files import expand
from minimal_llm.corpus.transfer import is_loopback
from minimal_llm.pipeline.commands import git
from minimal_llm.pipeline.disk_estimate import disk_needed_mb
from minimal_llm.pipeline.memory_estimate import less_memory, stages_memory_mb

OLDEST_PYTHON = (3, 11)
REQUIREMENTS = Path("requirements.txt")
LOCK = Path("dvc.lock")
LEAST_FREE_DISK_MB = 500
MIRROR_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was found and, if that is a problem, its remedy."""

    check: str
    detail: str
    remedy: str | None = None


def check() -> int:
    """Check the parameters in params.yaml and the prerequisites, print a line for each check, return 0.

    Raises:
        ConfigurationError: a parameter is wrong, or a prerequisite is missing.
    """
    config = load_config()
    require(run_checks(config, Artifacts(tokenizer_name=config.tokenizer.name)))
    return 0


def run_checks(config: Config, artifacts: Artifacts) -> list[Finding]:
    """Return the findings of all checks. Each is made whatever the others find, and nothing changes on disk."""
    return [
        _check_python(),
        _check_packages(),
        check_disk(disk_needed_mb(config), artifacts),
        check_memory([config], less_memory(config)[1]),
        _check_git(),
        check_dvc(),
        _check_corpus(config, artifacts),
        *check_initial_model(config, artifacts),
    ]


def require(findings: Sequence[Finding]) -> None:
    """Print one line per check. Raise ConfigurationError with all problems and their remedies, if there are any."""
    for finding in findings:
        print(f"  {'ok ' if finding.remedy is None else 'NO '} {finding.check:13} {finding.detail}", flush=True)
    problems = [finding for finding in findings if finding.remedy]
    if problems:
        lines = "\n".join(f"  - {p.check}: {p.detail}\n      {p.remedy}" for p in problems)
        raise ConfigurationError(
            f"{len(problems)} prerequisite{'s' * (len(problems) > 1)} missing:\n{lines}",
            remedy="follow the line below each problem, then: make check",
        )


def check_initial_model(config: Config, artifacts: Artifacts) -> Iterator[Finding]:
    """If training starts from a file, a model or the checkpoint of a run to extend: it will exist when it does."""
    key = "extend_from" if config.train.extend_from else "init_from"
    path = Path(config.train.extend_from or config.train.init_from)
    if not (config.train.extend_from or config.train.init_from):
        return
    if path.resolve() in (artifacts.best_model.resolve(), artifacts.final_model.resolve()):
        yield Finding(key, f"DVC deletes {path} before training starts", f"copy it first: cp {path} base.pt")
    elif not path.is_file():
        wanted = "a model file" if key == "init_from" else "the last checkpoint of a finished run"
        yield Finding(key, f"there is no file {path}", f"set train.{key} to {wanted}, or leave it empty")
    else:
        yield Finding(key, str(path))


def _check_python() -> Finding:
    found, wanted = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST_PYTHON))
    remedy = f"install Python {wanted} or newer, then: make setup PYTHON=..."
    return Finding("python", found, None if sys.version_info >= OLDEST_PYTHON else remedy)


def _check_packages() -> Finding:
    try:
        pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return Finding("packages", f"cannot read {REQUIREMENTS}", f"git checkout {REQUIREMENTS}")
    wrong = []
    for name, wanted in pins:
        try:
            found = importlib.metadata.version(name).split("+")[0]  # torch says 2.13.0+cpu
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} {wanted} is missing")
        else:
            wrong += [f"{name} is {found}, not {wanted}"] * (found != wanted)
    if wrong:
        return Finding("packages", "; ".join(wrong), "make setup")
    return Finding("packages", f"{len(pins)} installed as pinned")


def check_disk(needed: float, artifacts: Artifacts, who: str = "this configuration") -> Finding:
    """There are the MB free that `who` needs where the artifacts are, and they can be written."""
    root = artifacts.root.absolute()
    folder = next(folder for folder in (root, *root.parents) if folder.exists())
    if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Finding("disk", f"{folder} is on a read-only file system", "mount it writable")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("disk", f"{folder} is not writable", f"chmod u+wx {folder}")
    needed, free = max(LEAST_FREE_DISK_MB, needed), shutil.disk_usage(folder).free / 1e6
    remedy = None if free >= needed else f"free {needed - free:,.0f} MB: make clean, dvc gc --workspace"
    return Finding("disk", f"{free:,.0f} MB free, {who} needs {needed:,.0f} MB", remedy)


def check_memory(trained: Sequence[Config], less: str) -> Finding:
    """There is memory for the largest stage of all of these at once; with the command `less`, training needs less."""
    free, needed = available_memory_mb(), Counter[str]()
    for config in trained:
        needed.update(stages_memory_mb(config))
    ((stage, most),) = needed.most_common(1)
    who = f"{stage} in {len(trained)} jobs" if len(trained) > 1 else stage
    change = less if stage == "training" or len(trained) > 1 else "use less text, or a smaller model"
    remedy = None if free >= most else f"close other programs, or: {change}"
    return Finding("memory", f"{free:,.0f} MB free, {who} needs about {most:,.0f} MB", remedy)


def _check_git() -> Finding:
    if shutil.which("git") is None:
        return Finding("git", "command not found", "install git")
    if commit := git("rev-parse", "--short", "HEAD").strip():
        return Finding("git", f"at commit {commit}")
    remedy = "use git clone (a zip download has no history), or: git init && git add . && git commit -m start"
    return Finding("git", "this folder is not a git repository with a commit", remedy)


def check_dvc() -> Finding:
    """DVC is there, and can read what belongs to it."""
    command = shutil.which("dvc")
    if command is None:
        return Finding("dvc", "command not found", "make setup, then use make or activate .venv")
    if not Path(".dvc/config").exists():
        return Finding("dvc", ".dvc/config is missing", "git checkout .dvc")
    lock = LOCK.read_bytes().decode(errors="replace") if LOCK.exists() else ""
    if re.search("^(<{7}|>{7}) ", lock, re.MULTILINE):
        remedy = f"git checkout --ours {LOCK} data (or --theirs), then: dvc checkout, make train"
        return Finding("dvc", f"{LOCK} has conflict markers: git could not merge the results of two branches", remedy)
    try:
        yaml.safe_load(lock)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        return Finding("dvc", f"{LOCK} is damaged: {reason}", f"git checkout {LOCK}, or delete it; then: make train")
    return Finding("dvc", f"{importlib.metadata.version('dvc')} at {command}")


def _check_corpus(config: Config, artifacts: Artifacts) -> Finding:
    if config.download.source == "primer":
        return Finding("corpus", "the embedded primer")
    try:
        if config.download.source == "files":
            files = expand(config.download.files)
            return Finding("corpus", f"{len(files)} file{'s' * (len(files) > 1)}")
        mirrors = mirrors_from_environment()
    except MinimalLlmError as error:
        return Finding("corpus", error.message, error.remedy)
    missing = _missing_book(config.download, artifacts.raw_books)
    if not missing:
        return Finding("corpus", f"all books needed are in {artifacts.raw_books}")
    if mirror := next(filter(_answers, mirrors), None):
        return Finding("corpus", f"mirror {mirror} answers")
    if config.download.offline_fallback:
        told = f"no mirror can be reached, and {missing} is not in {artifacts.raw_books}; the embedded primer will"
        return Finding("corpus", f"{told} replace the books")
    remedy = "connect to the network, set GUTENBERG_MIRRORS, or: dvc exp run -S download.source=primer"
    return Finding("corpus", f"no mirror can be reached ({', '.join(mirrors)}), {missing} is missing", remedy)


def _missing_book(download: DownloadConfig, cache: Path) -> str:
    """Return the first book that the corpus needs and that is not in the cache, or "" if all are."""
    lists: dict[Language, tuple[int, ...]] = {"en": download.books.en, "es": download.books.es}
    for language, numbers in lists.items():
        size = 0
        for number in numbers:  # those after them are not read once there is enough text
            if size >= download.megabytes_per_language * 1e6:
                break
            book = cached_book(cache, number, language)
            if book is None:
                return f"book {number} ({language})"
            size += sum(len(paragraph.encode()) + 1 for paragraph in book.paragraphs)
    return ""


def _answers(mirror: str) -> bool:
    with suppress(OSError, ValueError):
        proxy = None if is_loopback(mirror) else select_proxy(mirror, get_environ_proxies(mirror))
        parts = urlsplit(mirror if proxy is None else proxy if "://" in proxy else f"http://{proxy}")
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        with socket.create_connection(address, timeout=MIRROR_TIMEOUT_SECONDS):
            return True
    return False
