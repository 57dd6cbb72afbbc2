from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minimal_llm.common import workers
from minimal_llm.common.artifacts import Artifacts
from minimal_llm.common.config import Config, load_config
from minimal_llm.common.errors import CorpusError
from minimal_llm.common.files import read_json
from minimal_llm.corpus.build import build_corpus
from minimal_llm.corpus.manifest import read_corpus
from minimal_llm.tokenizer import build
from minimal_llm.tokenizer.build import build_tokens, measure_splits, sample_shares, training_sample
from minimal_llm.tokenizer.token_files import DTYPE, read_tokens
from tests.support.books import story
from tests.support.stages import ROOT, run_stage

BOOKS = 6


@pytest.fixture
def books(tmp_path: Path) -> Path:
    for number in range(BOOKS):
        for language, paragraphs in (("en", 150), ("es", 40)):
            text = "\n\n".join(f"{number}. {paragraph}" for paragraph in story(language, paragraphs))
            (tmp_path / f"{language}{number}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def settings(books: Path, **changes: object) -> Config:
    keys = {"download.source": "files", "download.files": [f"{books}/*.txt"], "split.block_bytes": 1024}
    small = {"tokenizer.vocab_size": 1000, "tokenizer.model_type": "bpe"}
    return load_config(ROOT / "params.yaml", keys | small | changes)


def run(config: Config, folder: Path) -> Artifacts:
    artifacts = Artifacts(folder)
    build_corpus(config.download, config.seed, artifacts)
    build_tokens(config, artifacts, artifacts)
    return artifacts


def test_what_a_killed_run_has_left_is_deleted(books: Path, tmp_path: Path) -> None:
    left = [tmp_path / "out" / "tokens" / ".val.bin.12345678.tmp", tmp_path / "out" / ".corpus_bilingual.txt.1.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run(settings(books), tmp_path / "out")
    assert not any(path.exists() for path in left)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_bytes_do_not_depend_on_the_number_of_processes(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = contents(run(settings(books), tmp_path / "one").root)
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(workers, "physical_cores", lambda: 2)
    monkeypatch.setattr(build, "BATCH_BYTES", 5000)
    two = contents(run(settings(books), tmp_path / "two").root)
    assert len(one) == 9
    assert one == two


def test_each_split_has_english_first_and_then_spanish(books: Path, tmp_path: Path) -> None:
    tokens = read_tokens(run(settings(books), tmp_path / "out").tokens)
    for split, ids in tokens.ids.items():
        spans = tokens.meta.spans(split)
        assert [span.language for span in spans] == ["en", "es"]
        assert [span.first for span in spans] == [0, spans[0].tokens]
        assert ids[spans[1].first] == tokens.meta.bos_id
        assert ids[spans[1].first - 1] == tokens.meta.eos_id


def test_token_files_are_not_read_into_memory(books: Path, tmp_path: Path) -> None:
    tokens = read_tokens(run(settings(books), tmp_path / "out").tokens)
    assert all(isinstance(ids.base, np.memmap) for ids in tokens.ids.values())


def test_the_largest_vocabulary_fits_into_the_type_of_the_token_files() -> None:
    load_config(ROOT / "params.yaml", {"tokenizer.vocab_size": 32_000})
    assert np.iinfo(DTYPE).max >= 32_000


def test_the_tokenizer_learns_from_a_sample_of_half_each_language(
    books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(books, **{"tokenizer.sample_megabytes": 0.1, "tokenizer.vocab_size": 1000})
    artifacts = Artifacts(tmp_path / "out")
    build_corpus(config.download, config.seed, artifacts)
    corpus = read_corpus(artifacts)
    sizes = measure_splits(corpus, config.split)
    english, spanish = (sizes["train", language] for language in ("en", "es"))
    assert spanish < english / 2
    for limit, parts in (
        (2 * 10_000, {"en": 10_000, "es": 10_000}),
        (2 * spanish, {"en": spanish, "es": spanish}),
        (spanish + spanish // 2 + english // 2, {"en": english // 2 + spanish // 2, "es": spanish}),
    ):
        shares = sample_shares(sizes, limit)
        assert {name: share * sizes["train", name] for name, share in shares.items()} == pytest.approx(parts, abs=2)
        sample = list(training_sample(corpus, config.split, shares))
        assert sample == list(training_sample(corpus, config.split, shares))
        assert sum(len(text.encode()) + 1 for text in sample) == pytest.approx(limit, rel=0.15)
    build_tokens(config, artifacts, artifacts)
    assert "learned from a sample of 0.1 of 0." in capsys.readouterr().out
    assert read_json(artifacts.tokenizer_metrics)["sample_megabytes"] == pytest.approx(0.1)


def test_a_small_corpus_is_used_whole_and_nothing_is_said(
    books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = read_json(run(settings(books), tmp_path / "out").tokenizer_metrics)
    assert "sample_megabytes" not in metrics
    assert "sample" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("new", "said"),
    [(b"x" * 1000, "it has changed meanwhile"), (b"", "has 0 lines and 0 bytes, not 150 and")],
)
def test_a_corpus_that_changes_while_it_is_read_is_refused(new: bytes, said: str, books: Path, tmp_path: Path) -> None:
    artifacts = run(settings(books), tmp_path / "out")
    documents = read_corpus(artifacts).documents("en")
    for _ in range(BOOKS if new else 1):
        next(documents)
    artifacts.corpus.write_bytes(new)
    with pytest.raises(CorpusError, match=said):
        list(documents)


def test_a_disk_that_fills_while_encoding_leaves_the_earlier_results(tokens_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    for name, content in contents(tokens_folder).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    before = contents(folder / "tokens")
    full = run_stage("tokenizer", folder, under=["bash", "-c", 'ulimit -f 20; exec "$@"', "bash"])
    assert full.returncode == 3
    assert "File too large" in full.stderr
    assert "free some disk space" in full.stderr
    assert contents(folder / "tokens") == before
