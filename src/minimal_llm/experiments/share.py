"""`make share REMOTE=...`: put the results where another clone of this repository can fetch them.

python -m minimal_llm.share     # REMOTE from the environment: a path, ssh://user@host/path or s3://bucket/path

The address goes into .dvc/config.local, which git ignores: a path of this computer or a user name on a server is of no
use in everybody's clone, and to publish an address is a decision of its own (docs/SHARING.md has the command).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from minimal_llm.common.errors import EXIT_INTERRUPTED, ConfigurationError, MinimalLlmError
from minimal_llm.common.files import readable_size

NAME = "share"  # of the remote in DVC's configuration
PLUGINS = {"ssh": "dvc_ssh", "s3": "dvc_s3"}
EXAMPLES = (
    "make share REMOTE=/path/to/a/folder, or REMOTE=ssh://user@host/path, or REMOTE=s3://bucket/path (docs/SHARING.md)"
)


def main() -> int:
    """Set the remote up, push and say how the other side gets it; return the exit code."""
    try:
        share(os.environ.get("REMOTE", ""))
    except MinimalLlmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted: the same command once more sends what is still missing", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def share(given: str) -> None:
    """Push the results of the workspace to `given`, or to the default remote if that is empty.

    Raises:
        ConfigurationError: the address cannot work, a plugin is missing, there are no results, or DVC failed.
    """
    results = _results(Path("dvc.lock"))
    _require_here(results)
    default = _setting("core.remote")
    if not given and not default:
        raise ConfigurationError("there is no remote yet, and no REMOTE was given", remedy=EXAMPLES)
    if given:
        url = checked_remote(given, Path.cwd())
        name = _set_up(url, default)
    else:
        name, url = default, _setting(f"remote.{default}.url")
    print(f"pushing to {url}", flush=True)
    pushed = _push(name)
    total = sum(results.values())
    print(f"\n{pushed}. In the remote now, {readable_size(total)} in all:")
    for path, size in results.items():
        print(f"  {readable_size(size):>9}  {path}")
    _tell_other_side(url)


def checked_remote(given: str, repository: Path) -> str:
    """Return the address for DVC: a URL, or the absolute path of a folder.

    Raises:
        ConfigurationError: it is of a kind that is not supported or incomplete, or the folder cannot be used.
    """
    if "://" not in given and re.match(r"[^/\\\s]+@[^/\\\s]+:", given):
        host, _, path = given.partition(":")
        raise ConfigurationError(
            f"REMOTE={given} is written as scp has it", remedy=f"make share REMOTE=ssh://{host}/{path.lstrip('/')}"
        )
    if "://" not in given:
        return str(_checked_folder(given, repository.resolve()))
    parts = urlsplit(given)
    if parts.scheme not in PLUGINS:
        raise ConfigurationError(
            f"REMOTE={given}: {parts.scheme}:// is not among the kinds that this command knows",
            remedy=f"{EXAMPLES}; for all kinds of DVC: dvc remote add --help",
        )
    if parts.password:
        raise ConfigurationError(
            "REMOTE has a password in it, which would be kept as plain text",
            remedy="leave it out and use a key: ssh-copy-id USER@HOST, or an access key as docs/SHARING.md says",
        )
    if not parts.hostname:
        what = "host" if parts.scheme == "ssh" else "bucket"
        raise ConfigurationError(f"REMOTE={given} names no {what}", remedy=EXAMPLES)
    if parts.scheme == "ssh" and parts.path in ("", "/"):
        raise ConfigurationError(f"REMOTE={given} names no folder on {parts.hostname}", remedy=EXAMPLES)
    _require_plugin(parts.scheme)
    return given


def _checked_folder(given: str, repository: Path) -> Path:
    folder = Path(given).expanduser().resolve()
    if folder == repository or repository in folder.parents:
        raise ConfigurationError(
            f"REMOTE={given} is inside this repository",
            remedy=f"take a folder outside: make share REMOTE={_beside(repository)}",
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"REMOTE={given} is a file", remedy=EXAMPLES)
    there = folder if folder.exists() else folder.parent
    if not there.is_dir():
        raise ConfigurationError(f"REMOTE={given}: there is no folder {there}", remedy=f"mkdir -p {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"REMOTE={given}: {there} cannot be written", remedy=f"ls -ld {there}, or take another folder"
        )
    return folder


def _beside(repository: Path) -> Path:
    return repository.parent / f"{repository.name}-share"


def _require_plugin(scheme: str) -> None:
    if importlib.util.find_spec(PLUGINS[scheme]) is None:
        version = importlib.metadata.version("dvc")
        raise ConfigurationError(
            f"for {scheme}:// DVC needs {PLUGINS[scheme].replace('_', '-')}, which is not installed",
            remedy=f".venv/bin/python -m pip install -c requirements.txt 'dvc[{scheme}]=={version}'",
        )


def _results(lock: Path) -> dict[str, int]:
    """Return what the last runs made and DVC keeps in its cache: bytes by path.

    Raises:
        ConfigurationError: nothing was run yet.
    """
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", ())]
        return {out["path"]: out["size"] for out in outs if not _in_git(out["path"])}
    except FileNotFoundError:
        raise ConfigurationError("there is nothing to share: the pipeline never ran", remedy="make train") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{lock} cannot be read: {error}", remedy=f"git checkout {lock}") from error


def _require_here(results: Mapping[str, int]) -> None:
    """Raise ConfigurationError where DVC's cache lacks a result: DVC would push the rest and call it a success."""
    status = json.loads(_dvc("data", "status", "--json"))
    if missing := [path for path in results if path in status.get("not_in_cache", ())]:
        raise ConfigurationError(
            f"not all results are on this computer; DVC's cache lacks {', '.join(missing)}",
            remedy="make train, or dvc pull where another remote has them",
        )


def _in_git(path: str) -> bool:
    """Whether git has a result, or will have it: metrics, plots and the report."""
    return subprocess.run(["git", "check-ignore", "--quiet", path], check=False, capture_output=True).returncode != 0


def _set_up(url: str, default: str) -> str:
    """Make `url` the default remote of this clone; return its name. Other settings of the remote stay."""
    before = _setting(f"remote.{NAME}.url")
    if before:
        _dvc("remote", "modify", "--local", NAME, "url", url)
        _dvc("remote", "default", "--local", NAME)
    else:
        _dvc("remote", "add", "--local", "--default", NAME, url)
    if before and before != url:
        print(f"the remote '{NAME}' was {before} and is {url} now")
    elif default not in ("", NAME):
        print(f"the default remote was '{default}' and is '{NAME}' now (dvc remote default --local {default})")
    else:
        print(f"the remote '{NAME}' is {url}; it is noted in .dvc/config.local, which git ignores")
    return NAME


def _push(name: str) -> str:
    """Push, with DVC's own progress bar; return what DVC said at the end."""
    process = subprocess.run(
        ["dvc", "push", "--remote", name], stdout=subprocess.PIPE, stderr=None, text=True, check=False
    )
    if process.returncode:
        raise ConfigurationError(
            "DVC could not push; its message is above",
            remedy="correct the address or the access (docs/SHARING.md), then the same command again: "
            "what has arrived is not sent twice",
        )
    said = [line for line in process.stdout.splitlines() if line.strip()]
    return said[-1].rstrip(".") if said else "Everything is up to date"


def _tell_other_side(url: str) -> None:
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "dvc.lock", "params.yaml", "data"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    if changed:
        print(
            "\nNot committed yet, and another clone sees only what is: git add dvc.lock params.yaml data && git commit"
        )
    print(f"""
The other side, after it has your commits:
  git clone <this repository> minimal-llm && cd minimal-llm
  make setup && source .venv/bin/activate
  dvc remote add --local --default {NAME} {shlex.quote(url)}
  dvc pull
Experiments travel with dvc exp push and dvc exp pull: docs/SHARING.md""")


def _setting(key: str) -> str:
    """Return a value of DVC's configuration; empty if there is none."""
    done = subprocess.run(["dvc", "config", key], check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _dvc(*words: str) -> str:
    done = subprocess.run(["dvc", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(f"dvc {' '.join(words)} failed: {done.stderr.strip()}", remedy="make check")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
