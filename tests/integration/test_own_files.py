"""The user's own text files and model: an edit counts, however the pipeline is started, and no command touches them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_what_reruns import would_run
from tests.support.clone import Clone, needs_venv

pytestmark = needs_venv

WATCHED = "modified:           data/inputs/links"
EDITED = "A line that nobody has written before. "


class Text:
    """A text file outside of the repository."""

    def __init__(self, path: Path, clone: Clone) -> None:
        self.path = path
        corpus = (clone.folder / "data" / "corpus_bilingual.txt").read_text(encoding="utf-8")
        path.write_text(corpus[: len(corpus) // 2], encoding="utf-8")

    def edit(self) -> None:
        """Overwrite the beginning: the size stays."""
        with self.path.open("r+", encoding="utf-8") as file:
            file.write(EDITED)


@pytest.fixture
def text(experimental: Clone, tmp_path: Path) -> Text:
    return Text(tmp_path / "my text.txt", experimental)


def set_parameter(clone: Clone, section: str, **values: Any) -> None:
    params = clone.params()
    params[section] |= values
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def train_on(clone: Clone, *files: str | Path) -> None:
    set_parameter(clone, "download", source="files", files=[str(file) for file in files])


def corpus_of(clone: Clone) -> str:
    return (clone.folder / "data" / "corpus_bilingual.txt").read_text(encoding="utf-8")


def ran(printed: str) -> list[str]:
    """The stages that DVC ran, according to what it printed."""
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]


def test_an_edit_of_a_text_file_of_equal_size_is_seen_by_dvc_status_and_dvc_repro(
    experimental: Clone, text: Text
) -> None:
    train_on(experimental, text.path)
    assert ran(experimental.run("dvc", "repro", "download")) == ["parameters", "download"]
    assert experimental.git("status", "--porcelain", "data/inputs") == ""
    assert would_run(experimental).isdisjoint({"parameters", "download"})
    size = text.path.stat().st_size
    text.edit()
    assert text.path.stat().st_size == size
    assert "parameters" in would_run(experimental)
    assert ran(experimental.run("dvc", "repro", "download")) == ["parameters", "download"]
    assert EDITED.strip() in corpus_of(experimental)
    assert would_run(experimental).isdisjoint({"parameters", "download"})
    assert not text.path.is_symlink()
    assert text.path.stat().st_size == size


@pytest.mark.long
def test_a_text_file_that_is_gone_is_named_by_every_command_and_the_results_stay(
    experimental: Clone, text: Text
) -> None:
    train_on(experimental, text.path)
    experimental.run("dvc", "repro", "download")
    before = corpus_of(experimental)
    text.path.unlink()
    for command in ("status", "repro"):
        printed = experimental.run("dvc", command, code=255)
        assert f"No such file or directory: '{experimental.folder}/data/inputs/links/file_000000_my text" in printed
        assert "Traceback" not in printed
    assert f"{text.path}, which the last run read, is gone" in experimental.run("make", "status")
    printed = experimental.run("make", "train", code=2)
    assert f"{text.path} does not exist" in printed
    assert "What to do" in printed
    assert "Running stage" not in printed
    printed = experimental.run("dvc", "repro", code=255)  # without the link, the stage can tell
    assert f"{text.path} does not exist" in printed
    assert corpus_of(experimental) == before
    experimental.run("dvc", "exp", "run", "-S", "download.source=primer")
    assert would_run(experimental) == set()


@pytest.mark.long
def test_make_train_trains_again_after_an_edit_and_not_without_one(experimental: Clone, text: Text) -> None:
    experimental.run("make", "train", "EPOCHS=1", CORPUS=str(text.path))
    first = experimental.json("training_metrics.json")["run_id"]
    assert "Nothing to do" in experimental.run("make", "train")
    assert experimental.run("dvc", "status").strip() == "Data and pipelines are up to date."
    text.edit()
    assert WATCHED in experimental.run("make", "status")
    printed = experimental.run("make", "train")
    assert ran(printed) == ["parameters", "download", "tokenizer", "train", "validate"]
    assert experimental.json("training_metrics.json")["run_id"] != first
    os.utime(text.path)
    assert "Nothing to do" in experimental.run("make", "train")


@pytest.mark.long
def test_make_train_sees_a_new_match_of_a_pattern_and_an_edit_that_keeps_size_and_time(
    experimental: Clone, text: Text
) -> None:
    train_on(experimental, text.path.parent / "*.txt")
    experimental.run("make", "train")
    second = text.path.with_name("second.txt")
    second.write_text(f"{EDITED}\n\n" * 40, encoding="utf-8")
    assert ran(experimental.run("dvc", "repro")) == []
    assert "train" in ran(experimental.run("make", "train"))
    assert {entry["id"].partition("#")[0] for entry in experimental.json("corpus_manifest.json")["documents"]} == {
        text.path.name,
        second.name,
    }
    before = text.path.stat()
    text.edit()
    os.utime(text.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "download" in ran(experimental.run("make", "train"))


@pytest.mark.long
def test_a_replaced_model_to_start_from_trains_again_and_an_equal_one_does_not(
    experimental: Clone, tmp_path: Path
) -> None:
    model = tmp_path / "base.pt"
    shutil.copy(experimental.folder / "data" / "final_model.pt", model)
    experimental.run("dvc", "exp", "run", "-S", f"train.init_from={model}", "-S", "train.epochs=1")
    experimental.run("dvc", "exp", "run", "-S", "train.epochs=1")
    assert would_run(experimental) == set()
    first = experimental.json("metrics/train.json")["init_from_sha256"]
    replacement = experimental.folder / "data" / "best_model.pt"
    assert replacement.read_bytes() != model.read_bytes()
    shutil.copy(replacement, model)
    assert "parameters" in would_run(experimental)
    printed = experimental.run("dvc", "repro")
    assert "Running stage 'download'" not in printed
    assert "Running stage 'train'" in printed
    assert experimental.json("metrics/train.json")["init_from_sha256"] != first


@pytest.mark.long
def test_experiments_in_copies_of_the_repository_read_the_present_contents(experimental: Clone, text: Text) -> None:
    train_on(experimental, text.path)
    set_parameter(experimental, "train", epochs=1)
    experimental.run("dvc", "repro")
    for name, command in (("temp", ("--temp",)), ("workspace", ())):
        text.edit()
        with text.path.open("a", encoding="utf-8") as file:
            file.write(f"\n\nThis is the paragraph of the experiment that is called {name}.\n")
        assert "train" in ran(experimental.run("dvc", "exp", "run", "-n", name, *command))
        experimental.run("dvc", "exp", "apply", name)
        assert f"called {name}." in corpus_of(experimental)
        experimental.run("dvc", "repro")
        assert would_run(experimental) == set()
    assert f"called {name}." in text.path.read_text(encoding="utf-8")


@pytest.mark.long
def test_a_sweep_knows_only_experiments_with_the_present_contents(experimental: Clone, text: Text) -> None:
    sweep = ("make", "sweep", "GRID=grid.yaml")
    (experimental.folder / "grid.yaml").write_text("train.epochs: [1]\n", encoding="utf-8")
    assert "0 known, 1 to run" in experimental.run(*sweep, CORPUS=str(text.path))
    assert "1 known, 0 to run" in experimental.run(*sweep, CORPUS=str(text.path))
    text.edit()
    assert "0 known, 1 to run" in experimental.run(*sweep, CORPUS=str(text.path))
    assert len(experimental.experiments()) == 2


@pytest.mark.parametrize("target", [("train",), ("sweep",), ("example", "NAME=low-memory")], ids=lambda t: t[0])
def test_a_path_with_an_unmatched_quote_is_refused_by_name(trained: Clone, target: tuple[str, ...]) -> None:
    printed = trained.run("make", *target, CORPUS="it's.txt", code=2)
    assert "the corpus path it's.txt cannot be read: No closing quotation" in printed
    assert "What to do: quote each path" in printed
    assert "Traceback" not in printed


@pytest.mark.long
def test_a_conflict_in_dvc_lock_is_told_by_make_with_the_way_out(experimental: Clone) -> None:
    lock = experimental.folder / "dvc.lock"
    for branch, epochs in (("other", 1), ("mine", 3)):
        experimental.git("checkout", "--quiet", "-b", branch, "HEAD" if branch == "other" else "other~")
        lock.write_text(lock.read_text(encoding="utf-8").replace("epochs: 2", f"epochs: {epochs}"), encoding="utf-8")
        experimental.commit(branch, "-a")
    experimental.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "merge", "other", code=1)
    for command in ("check", "train", "status"):
        printed = experimental.run("make", command, code=0 if command == "status" else 2)
        assert "dvc.lock has conflict markers" in printed
        assert "git checkout --ours dvc.lock data" in printed
        assert "Traceback" not in printed
    experimental.git("checkout", "--ours", "dvc.lock", "data")
    experimental.run("make", "check")
    assert "epochs: 3" in lock.read_text(encoding="utf-8")


def test_a_text_file_that_is_edited_during_a_run_is_refused_and_read_by_the_next_one(
    experimental: Clone, text: Text
) -> None:
    train_on(experimental, text.path)
    experimental.run("python", "stages/parameters.py")
    text.edit()
    download = ("python", "stages/download.py")
    printed = experimental.run(*download, code=1, DVC_ROOT=str(experimental.folder))  # as DVC starts it
    assert "my text.txt changed while the pipeline was running" in printed
    assert "make train, or dvc repro" in printed
    assert not (experimental.folder / "data" / "inputs" / "files.sha256").exists()  # so DVC runs parameters again


def test_a_stage_run_by_hand_reads_what_it_is_given(experimental: Clone, text: Text) -> None:
    before = corpus_of(experimental)
    experimental.run("python", "stages/download.py", "--corpus-path", str(text.path), "--output-dir", "runs/x")
    assert (experimental.folder / "runs" / "x" / "corpus_bilingual.txt").exists()
    assert corpus_of(experimental) == before
