"""`make share REMOTE=...`: push the results to a place that other clones of this repository can fetch them from.

The address is stored in .dvc/config.local, which git ignores; docs/SHARING.md says why.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from minimal_llm.common.errors import ConfigurationError, Interrupted
from minimal_llm.common.files import readable_size
from minimal_llm.pipeline.commands import git, output_of

NAME = "share"  # of the remote in DVC's configuration
SCHEMES = ("ssh", "s3")
EXAMPLES = "make share REMOTE=/path/to/folder (or ssh://user@host/path, or s3://bucket/path; see docs/SHARING.md)"


def share(remote: str) -> None:
    """Push the results of the workspace to this address, or to the default remote if it is empty.

    Raises:
        ConfigurationError: the address cannot work, a plugin or a result is missing, or DVC failed.
        Interrupted: Ctrl+C stopped the push.
    """
    results = _results()
    settings = dict(line.split("=", 1) for line in output_of("dvc", "config", "--list").splitlines() if "=" in line)
    name = NAME if remote else settings.get("core.remote", "")
    if not name:
        raise ConfigurationError("there is no remote yet, and REMOTE is not set", remedy=EXAMPLES)
    url = checked_remote(remote, Path.cwd()) if remote else settings.get(f"remote.{name}.url", "")
    if remote:  # other settings of this remote, such as its user or key, stay as they are
        for key, value in {f"remote.{NAME}.url": url, "core.remote": NAME}.items():
            output_of("dvc", "config", "--local", key, value)
            was = settings.get(key, value)
            back = f" (was {was}; to go back: dvc config --local {key} {shlex.quote(was)})" if was != value else ""
            print(f"set in .dvc/config.local: {key} = {value}{back}")
    _push(name, url)
    print(f"\nThe remote now has {readable_size(sum(results.values()))}:")
    for path, size in results.items():
        print(f"  {readable_size(size):>9}  {path}")
    if git("status", "--porcelain", "--", "dvc.lock", "params.yaml", "data"):
        print("\nNot committed yet, and other clones only see commits: git add dvc.lock params.yaml data && git commit")
    print(f"""
On the other computer, once it has your commits:
  git clone <this repository> minimal-llm && cd minimal-llm
  make setup && source .venv/bin/activate
  dvc remote add --local --default {NAME} {shlex.quote(url)}
  dvc pull
To share experiments, use dvc exp push and dvc exp pull: docs/SHARING.md""")


def checked_remote(remote: str, repository: Path) -> str:
    """Return the address as DVC takes it: a URL, or the absolute path of a folder.

    Raises:
        ConfigurationError: its kind is not supported, a part of it is missing, or the folder cannot be used.
    """
    if scp := re.fullmatch(r"([^/\\\s]+@[^/\\\s:]+):/*([^/].*)", remote):
        remedy = f"make share REMOTE=ssh://{scp[1]}/{scp[2]}"
        raise ConfigurationError(f"REMOTE={remote} is an address for scp, not a URL", remedy=remedy)
    if "://" not in remote:
        return str(_checked_folder(remote, repository.resolve()))
    scheme = (parts := urlsplit(remote)).scheme
    if parts.password:
        remedy = "leave it out and use a key: ssh-copy-id USER@HOST, or for S3 an access key as in docs/SHARING.md"
        raise ConfigurationError("REMOTE contains a password, which DVC would store as plain text", remedy=remedy)
    if scheme not in SCHEMES:
        remedy = f"{EXAMPLES}; for the other kinds that DVC supports: dvc remote add --help"
        raise ConfigurationError(f"REMOTE={remote}: make share does not support {scheme}://", remedy=remedy)
    if not parts.hostname or (scheme == "ssh" and parts.path in ("", "/")):
        needs = "a host and a path" if scheme == "ssh" else "a bucket"
        raise ConfigurationError(f"REMOTE={remote} is incomplete: {scheme}:// needs {needs}", remedy=EXAMPLES)
    if importlib.util.find_spec(f"dvc_{scheme}") is None:
        remedy = f".venv/bin/python -m pip install -c requirements.txt 'dvc[{scheme}]=={version('dvc')}'"
        raise ConfigurationError(f"for {scheme}:// DVC needs dvc-{scheme}, which is not installed", remedy=remedy)
    return remote


def _checked_folder(remote: str, repository: Path) -> Path:
    folder = Path(remote).expanduser().resolve()
    if repository in (folder, *folder.parents):
        remedy = f"use a folder outside: make share REMOTE={repository.parent / f'{repository.name}-share'}"
        raise ConfigurationError(f"REMOTE={remote} is inside this repository", remedy=remedy)
    place = folder if folder.exists() else folder.parent  # a parent that is missing may be a drive that is not mounted
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        remedy = f"mkdir -p {place}, mount it or change its permissions; or use another folder"
        raise ConfigurationError(f"REMOTE={remote}: {place} is not a folder that you can write to", remedy=remedy)
    return folder


def _results() -> dict[str, int]:
    """Return the bytes of each result that DVC, not git, keeps, by its path.

    Raises:
        ConfigurationError: the pipeline has not been run, or DVC's cache lacks a result, which `dvc push` would ignore.
    """
    status = json.loads(output_of("dvc", "data", "status", "--json"))  # fails if dvc.lock is damaged
    lock = Path("dvc.lock")
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.exists() else {}
    if not stages:
        raise ConfigurationError("there is nothing to share: the pipeline has not been run", remedy="make train")
    sizes = {out["path"]: int(out["size"]) for stage in stages.values() for out in stage.get("outs", ())}
    kept = git("check-ignore", *sizes).splitlines()
    if missing := [path for path in kept if path in status.get("not_in_cache", ())]:
        lacks = f"not all results are on this computer; DVC's cache lacks {', '.join(missing)}"
        raise ConfigurationError(lacks, remedy="make train, or dvc pull if another remote has them")
    return {path: sizes[path] for path in kept}


def _push(name: str, url: str) -> None:
    """Push with DVC's own progress bar and messages."""
    print(f"pushing to {url}", flush=True)
    try:
        done = subprocess.run(["dvc", "push", "--remote", name], check=False)
    except KeyboardInterrupt:
        raise Interrupted("interrupted while pushing", remedy="the same command again sends the rest") from None
    if done.returncode:
        remedy = "correct the address or the access (docs/SHARING.md), then the same command again sends the rest"
        raise ConfigurationError("DVC could not push; its message is above", remedy=remedy)
