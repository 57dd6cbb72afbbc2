"""`make share` pushes results, and another clone of the same commit pulls them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from minimal_llm.common.errors import ConfigurationError
from minimal_llm.experiments.share import share
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the results are pushed to: a folder that does not exist yet."""
    return tmp_path_factory.mktemp("store") / "a store; it's $HOME"


@pytest.fixture(scope="module")
def sharing(trained: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the trained clone that shares its results."""
    return trained.copy_to(tmp_path_factory.mktemp("sharing") / "clone")


@pytest.fixture(scope="module")
def printed(sharing: Clone, store: Path) -> str:
    """What the first `make share` prints."""
    return sharing.run("make", "share", REMOTE=str(store))


def test_one_clone_pushes_and_another_pulls_the_same_results(
    trained: Clone, sharing: Clone, printed: str, store: Path, tmp_path: Path
) -> None:
    assert "files pushed" in printed
    assert "data/best_model.pt" in printed
    assert "data/report.md" not in printed  # which is in git
    assert "Not committed yet" not in printed
    assert f"set in .dvc/config.local: remote.share.url = {store}" in printed
    assert trained.git("diff", "HEAD", "--stat") == ""
    assert str(store) not in (sharing.folder / ".dvc" / "config").read_text(encoding="utf-8")

    other = SecondClone(trained.folder, tmp_path / "other", sharing.environment)
    told = [line.strip() for line in printed.splitlines() if line.strip().startswith("dvc ")]
    assert told[1:] == ["dvc pull"]
    other.run("bash", "-c", told[0])  # as it was printed
    other.run("dvc", "pull")
    assert "up to date" in other.run("dvc", "status")
    assert "parameters" in other.run("minimal-llm", "info")
    for name in ("best_model.pt", "corpus_bilingual.txt", "bilingual_8k.model", "tokens/train.bin"):
        assert digest(other.folder / "data" / name) == digest(trained.folder / "data" / name)


def test_the_same_place_again_and_another_place(
    sharing: Clone,
    printed: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sharing.folder)
    monkeypatch.setenv("PATH", sharing.environment["PATH"])
    sharing.run("dvc", "remote", "modify", "--local", "share", "verify", "true")
    params = sharing.folder / "params.yaml"
    before = params.read_text(encoding="utf-8")
    try:
        params.write_text(f"{before}# changed\n", encoding="utf-8")
        share("")
        again = capfd.readouterr().out
        share(str(tmp_path / "another"))
        moved = capfd.readouterr().out
    finally:
        params.write_text(before, encoding="utf-8")
        sharing.run("dvc", "config", "--local", "remote.share.url", str(store))
    assert "Everything is up to date" in again
    assert "config.local" not in again
    assert "Not committed yet" in again
    assert f"remote.share.url = {tmp_path / 'another'} (was {store}; to go back: dvc config --local" in moved
    assert (tmp_path / "another").is_dir()
    assert "remote.share.verify=true" in sharing.run("dvc", "config", "--list")  # its other settings stay


def test_an_experiment_travels_with_a_git_remote(sharing: Clone, printed: str, store: Path, tmp_path: Path) -> None:
    sharing.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    sharing.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    sharing.git("push", "--quiet", "origin", "HEAD")
    sharing.run("dvc", "exp", "run", "-n", "shorter", "-S", "train.epochs=1", "train")
    sharing.run("dvc", "exp", "push", "origin", "shorter")
    other = SecondClone(tmp_path / "origin.git", tmp_path / "other", sharing.environment)
    other.run("dvc", "remote", "add", "--local", "--default", "share", str(store))
    assert "shorter" in other.run("dvc", "exp", "list", "origin")
    other.run("dvc", "exp", "pull", "origin", "shorter")
    other.run("dvc", "exp", "apply", "shorter")
    assert digest(other.folder / "data" / "best_model.pt") == digest(sharing.folder / "data" / "best_model.pt")
    assert "shorter" in other.run("make", "compare")


def test_without_the_results_nothing_is_pushed(trained: Clone, tmp_path: Path) -> None:
    other = SecondClone(trained.folder, tmp_path / "other", trained.environment | {"REMOTE": str(tmp_path / "store")})
    done = subprocess.run(
        ["make", "share"], cwd=other.folder, env=other.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not all results are on this computer" in done.stderr
    assert "make train" in done.stderr
    assert not (tmp_path / "store").exists()
    assert not (other.folder / ".dvc" / "config.local").exists()


@pytest.mark.parametrize(
    ("remote", "message"), [("runs/store", "inside this repository"), ("", "there is no remote yet")]
)
def test_a_place_that_cannot_work_is_refused_and_nothing_is_set_up(
    remote: str, message: str, trained: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    monkeypatch.setenv("PATH", trained.environment["PATH"])
    with pytest.raises(ConfigurationError) as raised:
        share(remote)
    assert message in raised.value.message
    assert not (trained.folder / ".dvc" / "config.local").exists()
