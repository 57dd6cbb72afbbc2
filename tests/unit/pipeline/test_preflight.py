from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import load_config
from minimal_llm.common.errors import ConfigurationError
from minimal_llm.common.files import sha256_of
from minimal_llm.pipeline import preflight
from minimal_llm.pipeline.preflight import Finding, check_initial_model, require, run_checks
from tests.support.books import synthetic_book
from tests.support.stages import ROOT

UNREACHABLE = "http://127.0.0.1:9"


def findings(artifacts: Artifacts, **changes: Any) -> dict[str, Finding]:
    """The findings of all checks by name."""
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return {finding.check: finding for finding in run_checks(load_config(ROOT / "params.yaml", overrides), artifacts)}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of the repository, without a mirror."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GUTENBERG_MIRRORS", UNREACHABLE)


def test_everything_is_checked_whatever_the_other_checks_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "available_memory_mb", lambda: 10.0)
    monkeypatch.setattr(preflight, "REQUIREMENTS", tmp_path / "none.txt")
    monkeypatch.setattr(preflight, "OLDEST_PYTHON", (99, 0))
    found = findings(Artifacts(tmp_path), download__offline_fallback=False)
    wrong = {check for check, finding in found.items() if finding.remedy}
    assert wrong >= {"python", "packages", "memory", "corpus"}
    assert found["disk"].remedy is None
    assert not any(tmp_path.iterdir())
    with pytest.raises(ConfigurationError) as error:
        require(list(found.values()))
    assert error.value.message.startswith(f"{len(wrong)} prerequisites missing:\n  - python: ")
    assert "make train BATCH_SIZE=16" in error.value.message


def test_a_package_of_another_version_is_named_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("numpy==0.1\nno-such-package==2\nPyYAML==6.0.3\n", encoding="utf-8")
    monkeypatch.setattr(preflight, "REQUIREMENTS", pins)
    packages = findings(Artifacts(tmp_path))["packages"]
    assert packages.detail.startswith("numpy is ")
    assert packages.detail.endswith(", not 0.1; no-such-package 2 is missing")
    assert packages.remedy == "make setup"


def test_behind_a_proxy_a_mirror_counts_as_reachable_if_the_proxy_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUTENBERG_MIRRORS", "https://mirror.example")
    monkeypatch.delenv("no_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert findings(Artifacts(tmp_path))["corpus"].detail == "mirror https://mirror.example answers"
    assert "no mirror can be reached" in findings(Artifacts(tmp_path))["corpus"].detail


def keep(artifacts: Artifacts, number: int, text: bytes) -> None:
    """Put a book into the cache as a download does."""
    artifacts.raw_books.mkdir(exist_ok=True)
    (artifacts.raw_books / f"pg{number}-{sha256_of(text)}.txt").write_bytes(text)


def test_without_a_mirror_the_primer_will_do_unless_it_is_ruled_out(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    found = findings(artifacts)["corpus"]
    told = f"no mirror can be reached, and book 11 (en) is not in {artifacts.raw_books}; the embedded primer will"
    assert (found.detail, found.remedy) == (f"{told} replace the books", None)
    refused = findings(artifacts, download__offline_fallback=False)["corpus"]
    assert refused.detail == f"no mirror can be reached ({UNREACHABLE}), book 11 (en) is missing"
    assert "GUTENBERG_MIRRORS" in str(refused.remedy)


def test_without_a_mirror_every_book_that_would_be_read_must_be_on_disk(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    books = {language: synthetic_book(language, 60) for language in ("en", "es")}
    changes = {"download__books__en": [1, 2, 3], "download__books__es": [4, 5]}
    size = 1.5 * max(len("\n".join(book.paragraphs).encode()) for book in books.values()) / 1e6  # one is too little

    def corpus() -> Finding:
        return findings(artifacts, download__megabytes_per_language=size, download__offline_fallback=False, **changes)[
            "corpus"
        ]

    for language, number in (("en", 1), ("en", 2), ("es", 4), ("es", 5)):
        assert corpus().detail.endswith(f"book {number} ({language}) is missing")
        keep(artifacts, number, books[language].text.encode())
    assert (corpus().detail, corpus().remedy) == (
        f"all books needed are in {artifacts.raw_books}",
        None,
    )
    damaged = next(artifacts.raw_books.glob("pg4-*"))
    damaged.write_bytes(damaged.read_bytes()[1:])
    assert corpus().detail.endswith("book 4 (es) is missing")
    assert damaged.exists()


def test_files_of_ones_own_must_exist(tmp_path: Path) -> None:
    wrong = findings(Artifacts(tmp_path), download__source="files", download__files=["/nowhere.txt"])["corpus"]
    assert wrong.detail == "/nowhere.txt does not exist"
    right = findings(Artifacts(tmp_path), download__source="files", download__files=["README.md"])["corpus"]
    assert (right.detail, right.remedy) == ("1 file", None)


@pytest.mark.parametrize(
    ("name", "told"), [("best_model.pt", "DVC deletes"), ("none.pt", "there is no file"), ("base.pt", None)]
)
def test_the_model_to_start_from_must_exist_and_stay(tmp_path: Path, name: str, told: str | None) -> None:
    (tmp_path / "base.pt").touch()
    config = load_config(ROOT / "params.yaml", {"train.init_from": str(tmp_path / name)})
    (finding,) = check_initial_model(config, Artifacts(tmp_path))
    assert (finding.remedy is None) == (told is None)
    assert (told or str(tmp_path / name)) in finding.detail
