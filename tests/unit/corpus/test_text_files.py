"""The source `files`: what it accepts, what documents it produces, and what it rejects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimal_llm.common.errors import CorpusError
from minimal_llm.common.files import sha256_of
from minimal_llm.corpus import text_files
from minimal_llm.corpus.text_files import expand, read_documents
from tests.support.books import AUTHOR, STYLES, TITLES, Style, story, synthetic_book


def write(path: Path, paragraphs: list[str], encoding: str = "utf-8") -> str:
    path.write_bytes("\n\n".join(paragraphs).encode(encoding))
    return str(path)


def test_a_text_becomes_a_document(tmp_path: Path) -> None:
    paragraphs = story("es", 10)
    path = write(tmp_path / "cuento.txt", paragraphs, "latin-1")
    [document] = read_documents([path])
    assert (document.id, document.title, document.author, document.url) == ("cuento.txt", "cuento", "", "cuento.txt")
    assert (document.language, document.encoding) == ("es", "latin-1")
    assert document.sha256 == sha256_of(Path(path).read_bytes())
    assert document.paragraphs == tuple(paragraphs)


@pytest.mark.parametrize("style", [style for style in STYLES if style != "bare"])
def test_a_file_of_project_gutenberg_is_cleaned_as_a_book(style: Style, tmp_path: Path) -> None:
    book = synthetic_book("en", 10, style)
    (tmp_path / "book.txt").write_bytes(book.raw)
    [document] = read_documents([str(tmp_path / "book.txt")])
    assert document.paragraphs == book.paragraphs
    if style != "footer_only":
        assert (document.title, document.author) == (TITLES["en"], AUTHOR)


def test_an_ordinary_text_is_not_cleaned(tmp_path: Path) -> None:
    paragraphs = [*story("en", 3), "the_name = other_name", "* * *", "Produced by us, see https://example.org"]
    [document] = read_documents([write(tmp_path / "own.txt", paragraphs)])
    assert document.paragraphs == tuple(paragraphs)


def test_one_paragraph_per_line_is_recognized(tmp_path: Path) -> None:
    lines = story("en", 20)
    (tmp_path / "tight.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "corpus.txt").write_text("\n".join([*lines[:10], "", *lines[10:]]), encoding="utf-8")
    for document in read_documents([str(tmp_path / "*.txt")]):
        assert document.paragraphs == tuple(lines)


def test_patterns_are_sorted_and_no_file_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", "d[1].txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, story("en", 2))
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "folder.txt").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [path.name for path in expand(["~/b.txt", f"{tmp_path}/*.txt", f"{tmp_path}/**/*.txt", "~/d[1].txt"])]
    assert names == ["b.txt", "a.txt", "d[1].txt", "c.txt"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.txt", None, "does not exist"),
        ("none*.txt", None, "matches no file"),
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \r\n\t\n", "is empty"),
        ("binary.txt", b"GIF89a\x00\x01", "binary"),
        ("other.txt", "El niño está aquí, ¿no es él?".encode("cp850"), "neither UTF-8"),
        ("damaged.txt", "ñ ñ ñ ñ ".encode() + b"\xf1", "damaged UTF-8"),
        (".", None, "is a directory"),
        ("a\0b", None, "not a valid path|does not exist"),
        ("x" * 300, None, "not a valid path|does not exist"),
    ],
)
def test_an_unusable_file_is_rejected_by_name(name: str, content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = f"{tmp_path}/{name}"
    if content is not None:
        Path(path).write_bytes(content)
    with pytest.raises(CorpusError, match=reason) as caught:
        list(read_documents([path]))
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert name in caught.value.message or name == "."


def test_a_pipe_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="not a regular file"):
        expand([str(tmp_path / "pipe")])


def test_the_error_for_a_directory_suggests_a_pattern(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        expand([str(tmp_path)])
    assert str(tmp_path / "*.txt") in caught.value.remedy


def test_an_empty_list_of_files_is_rejected() -> None:
    with pytest.raises(CorpusError, match="no text file"):
        expand([])


def test_a_bilingual_file_is_split_where_the_language_changes(tmp_path: Path) -> None:
    english, spanish = story("en", 30), story("es", 30)
    path = write(tmp_path / "both.txt", ["I", *english[:15], "II", *spanish, *english[15:]])
    documents = list(read_documents([path]))
    assert [(document.id, document.language) for document in documents] == [
        ("both.txt", "en"),
        ("both.txt#2", "es"),
        ("both.txt#3", "en"),
    ]
    assert [document.paragraphs for document in documents] == [
        ("I", *english[:15], "II"),
        tuple(spanish),
        tuple(english[15:]),
    ]


def test_a_quotation_does_not_split_a_file(tmp_path: Path) -> None:
    paragraphs = [*story("es", 20), *story("en", 2), *story("es", 20)]
    [document] = read_documents([write(tmp_path / "quoted.txt", paragraphs)])
    assert (document.language, document.paragraphs) == ("es", tuple(paragraphs))


def test_a_file_of_unclear_language_is_used_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [document] = read_documents([write(tmp_path / "table.txt", ["12 34 56", "la lámpara azul"])])
    assert document.language == "es"
    assert "warning: table.txt" in capsys.readouterr().err


def test_files_of_the_same_name_get_different_ids(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    paths = [write(tmp_path / "same.txt", story("en", 2)), write(tmp_path / "one" / "same.txt", story("en", 3))]
    assert [document.id for document in read_documents(paths)] == ["same.txt", "same.txt#2"]


def test_a_large_file_is_read_in_parts_that_end_between_paragraphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraphs = story("es", 60)
    path = write(tmp_path / "large.txt", paragraphs)
    monkeypatch.setattr(text_files, "PART_BYTES", 2000)
    documents = list(read_documents([path]))
    assert [document.id for document in documents[:3]] == ["large.txt", "large.txt#2", "large.txt#3"]
    assert [paragraph for document in documents for paragraph in document.paragraphs] == paragraphs
    assert {document.sha256 for document in documents} == {sha256_of(Path(path).read_bytes())}


@pytest.mark.parametrize("separator", ["\r\n\r\n", "\n", " "])
def test_the_parts_of_a_file_without_blank_lines_end_with_a_line_or_word(
    separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = separator.join(story("en", 60))
    (tmp_path / "large.txt").write_bytes(text.encode())
    monkeypatch.setattr(text_files, "PART_BYTES", 2000)
    documents = list(read_documents([str(tmp_path / "large.txt")]))
    assert len(documents) > 3
    assert " ".join(p for document in documents for p in document.paragraphs).split() == text.split()


def test_a_large_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "large.txt", story("en", 60))
    monkeypatch.setattr(text_files, "PART_BYTES", 2000)
    documents = read_documents([path])
    next(documents)
    Path(path).write_text("\n\n".join(story("en", 70)), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"large\.txt changed while it was read"):
        list(documents)
