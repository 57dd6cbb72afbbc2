"""`make share` pushes results, and another clone of the same commit pulls them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv


class SecondClone:
    """What `git clone` makes of a clone, whose commit holds the link to .venv."""

    def __init__(self, origin: Path, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment | {"PYTHONPATH": str(folder / "src")}
        subprocess.run(["git", "clone", "--quiet", str(origin), str(folder)], env=self.environment, check=True)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_one_clone_pushes_and_another_pulls_the_same_results(experimental: Clone, tmp_path: Path) -> None:
    store = tmp_path / "a store; it's $HOME"
    printed = experimental.run("make", "share", REMOTE=str(store))
    assert "files pushed" in printed
    assert "data/best_model.pt" in printed
    assert experimental.git("status", "--porcelain") == ""  # the address is nothing that git would commit
    assert str(store) not in (experimental.folder / ".dvc" / "config").read_text(encoding="utf-8")
    assert "Everything is up to date" in experimental.run("make", "share")  # the same place again

    other = SecondClone(experimental.folder, tmp_path / "other", experimental.environment)
    told = [line.strip() for line in printed.splitlines() if line.strip().startswith("dvc ")]
    assert told[1:] == ["dvc pull"]
    other.run("bash", "-c", told[0])  # as it was printed
    other.run("dvc", "pull")
    assert "up to date" in other.run("dvc", "status")
    assert "parameters" in other.run("minimal-llm", "info")
    for name in ("best_model.pt", "corpus_bilingual.txt", "bilingual_8k.model", "tokens/train.bin"):
        assert digest(other.folder / "data" / name) == digest(experimental.folder / "data" / name)


def test_an_experiment_travels_with_a_git_remote(experimental: Clone, tmp_path: Path) -> None:
    experimental.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    experimental.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    try:
        experimental.git("push", "--quiet", "origin", "HEAD")
        experimental.run("make", "share", REMOTE=str(tmp_path / "store"))
        experimental.run("dvc", "exp", "run", "-n", "shorter", "-S", "train.epochs=1")
        experimental.run("dvc", "exp", "push", "origin", "shorter")
    finally:
        experimental.git("remote", "remove", "origin")
    other = SecondClone(tmp_path / "origin.git", tmp_path / "other", experimental.environment)
    other.run("dvc", "remote", "add", "--local", "--default", "share", str(tmp_path / "store"))
    assert "shorter" in other.run("dvc", "exp", "list", "origin")
    other.run("dvc", "exp", "pull", "origin", "shorter")
    other.run("dvc", "exp", "apply", "shorter")
    assert digest(other.folder / "data" / "best_model.pt") == digest(experimental.folder / "data" / "best_model.pt")
    assert "shorter" in other.run("make", "compare")


def test_without_the_results_nothing_is_pushed(experimental: Clone, tmp_path: Path) -> None:
    other = SecondClone(
        experimental.folder, tmp_path / "other", experimental.environment | {"REMOTE": str(tmp_path / "store")}
    )
    done = subprocess.run(
        ["make", "share"], cwd=other.folder, env=other.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not all results are on this computer" in done.stderr
    assert "make train" in done.stderr
    assert not (tmp_path / "store").exists()
    assert not (other.folder / ".dvc" / "config.local").exists()


def test_a_place_that_cannot_work_is_refused_and_nothing_is_set_up(experimental: Clone) -> None:
    assert "inside this repository" in experimental.run("make", "share", REMOTE="runs/store", code=2)
    assert "no REMOTE was given" in experimental.run("make", "share", code=2)
    assert not (experimental.folder / ".dvc" / "config.local").exists()
