"""What users give as text: `stages/download.py --corpus-path` makes a sane corpus of it or refuses the file by name."""

from __future__ import annotations

import json
import os
import random as randomness
import socket
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from tests.support.books import story
from tests.support.campaign import Count
from tests.support.stages import run_here, run_stage

ENGLISH, SPANISH = story("en", 12), story("es", 12)
TEXT = "\n\n".join([*ENGLISH, *SPANISH])
EARLIER = {"corpus_bilingual.txt": b"the earlier corpus\n", "corpus_manifest.json": b"{}\n"}
UNTOUCHED = "exit 2, the file named, with what it is and what to do; earlier corpus untouched"


@dataclass
class Download:
    """Runs stages/download.py in this process, over an earlier corpus, on files in a folder beside."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    @property
    def given(self) -> Path:
        return self.root / "given"

    @property
    def folder(self) -> Path:
        return self.root / "data"

    def run(self, path: str | Path) -> tuple[object, str]:
        """Return the exit code and all output, after checking that nothing but results has been written."""
        self.folder.mkdir(exist_ok=True)
        for name, content in EARLIER.items():
            (self.folder / name).write_bytes(content)
        before = sorted(self.root.rglob("*"))
        code = run_here("download", "--data-dir", str(self.folder), "--corpus-path", str(path))
        printed = "".join(self.capsys.readouterr())
        assert "Traceback" not in printed
        written = {str(path.relative_to(self.root)) for path in set(self.root.rglob("*")) - set(before)}
        assert written <= {"data/pipeline_status.json"}
        return code, printed

    def refused(self, path: str | Path, reason: str) -> None:
        """Check that the file is refused for this reason, and that the earlier corpus is as it was."""
        code, printed = self.run(path)
        assert code == 2, printed
        assert reason in printed
        assert Path(path).name in printed
        assert "What to do: " in printed
        assert {name: (self.folder / name).read_bytes() for name in EARLIER} == EARLIER

    def corpus(self, path: str | Path) -> list[str]:
        """Return the paragraphs of the corpus that is made of the file, after checking that it is sane."""
        code, printed = self.run(path)
        assert code == 0, printed
        text = (self.folder / "corpus_bilingual.txt").read_bytes().decode("utf-8")
        assert unicodedata.is_normalized("NFC", text)
        assert not {character for character in set(text) if unicodedata.category(character) == "Cc"} - {"\n"}
        lines = text.split("\n")
        manifest = json.loads((self.folder / "corpus_manifest.json").read_bytes())
        for document in manifest["documents"]:
            assert all(lines[document["first_line"] - 1 : document["last_line"]])
        assert sum(document["paragraphs"] for document in manifest["documents"]) == sum(map(bool, lines))
        return [line for line in lines if line]


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Download:
    (tmp_path / "given").mkdir()
    return Download(tmp_path, monkeypatch, capsys)


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "of white space only": (" \r\n\t\u00a0\u2003\n\x0c".encode() * 50, "is empty"),
    "of invisible characters only": ("\ufeff\u200b\u00ad\u202e\u2066\n".encode() * 50, "is empty"),
    "of random bytes": (randomness.Random(1).randbytes(5000), "binary"),
    "in UTF-16, little endian with BOM": (b"\xff\xfe" + TEXT.encode("utf-16-le"), "UTF-16"),
    "in UTF-16, big endian with BOM": (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16"),
    "in UTF-16, little endian without BOM": (TEXT.encode("utf-16-le"), "UTF-16"),
    "in UTF-16, big endian without BOM": (TEXT.encode("utf-16-be"), "UTF-16"),
    "in UTF-32": (TEXT.encode("utf-32"), "UTF-32"),
    "in UTF-8 and Latin-1 mixed": (TEXT.encode() + "mañana\n".encode("latin-1") + TEXT.encode(), "damaged UTF-8"),
    "in a DOS code page": ("El niño está aquí.".encode("cp850"), "neither UTF-8 nor Latin-1"),
    "with NUL bytes": (TEXT.encode().replace(b". ", b".\0"), "NUL"),
    "with half an emoji": ("Ada 😀.".encode() + b"\xed\xa0\xbd", "damaged UTF-8"),
    "with emoji as surrogates": (b"Ada \xed\xa0\xbd\xed\xb8\x80.", "damaged UTF-8"),
    "an HTML page": (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "an HTML page"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "JSON": (json.dumps({"text": TEXT}).encode(), "JSON"),
    "a CSV table": (b"id,name\n" + b"1,Ada\n" * 50, "a table (CSV)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_text_is_refused_by_name(name: str, download: Download, count: Count) -> None:
    content, reason = REFUSED[name]
    (download.given / "own text.txt").write_bytes(content)
    download.refused(download.given / "own text.txt", reason)
    count("Input", f"a text file {name}" if name[:2] in ("in", "of", "wi", "em") else f"{name} named .txt", UNTOUCHED)


Special = Callable[[Path], object]


def loop(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


SPECIAL: dict[str, tuple[Special, str]] = {
    "a folder": (Path.mkdir, "is a directory"),
    "a named pipe": (os.mkfifo, "not a regular file"),
    "a socket": (lambda path: socket.socket(socket.AF_UNIX).bind(os.path.relpath(path)), "not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a loop of links": (loop, "does not exist"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "does not exist"),
    "a name longer than the system allows": (lambda path: None, "not a valid path"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_not_a_regular_file_is_refused_without_reading_it(kind: str, download: Download, count: Count) -> None:
    make, reason = SPECIAL[kind]
    name = "x" * 300 if "longer" in kind else "special"
    make(download.given / name)
    download.refused(download.given / name, reason)
    count("Input", f"{kind} given as a text", UNTOUCHED)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads any file")
def test_an_unreadable_file_is_refused(download: Download, count: Count) -> None:
    path = download.given / "secret.txt"
    path.write_text(TEXT, encoding="utf-8")
    path.chmod(0)
    download.refused(path, "cannot be read")
    count("Input", "a text file without permission to read", UNTOUCHED)


ARABIC, HEBREW = "كان يا ما كان في قديم الزمان", "היה היה פעם לפני שנים רבות"
CHINESE, JAPANESE = "从前有一座灯塔，里面住着一个老人。", "昔々、あるところに灯台がありました。"
PARAGRAPHS = [*ENGLISH, *SPANISH]

ACCEPTED: dict[str, tuple[bytes, list[str]]] = {
    "of one line": (b"One line.", ["One line."]),
    "in UTF-8 with BOM": (b"\xef\xbb\xbf" + TEXT.encode(), PARAGRAPHS),
    "in Latin-1": ("\n\n".join([*SPANISH, "Ñandú."]).encode("latin-1"), [*SPANISH, "Ñandú."]),
    "in Windows-1252": ("\n\n".join([*SPANISH, "«Sí» —dijo—."]).encode("cp1252"), [*SPANISH, "«Sí» —dijo—."]),
    "in Arabic": (f"{ARABIC}\n\n\u200f{ARABIC}\u200e\n".encode(), [ARABIC, ARABIC]),
    "in Hebrew": (f"{HEBREW}\n\n\u202b{HEBREW}\u202c\n".encode(), [HEBREW, HEBREW]),
    "in Chinese and Japanese": (f"{CHINESE}\n\n{JAPANESE}".encode(), [CHINESE, JAPANESE]),
    "with combining marks": (unicodedata.normalize("NFD", TEXT + "\n\nÑandú").encode(), [*PARAGRAPHS, "Ñandú"]),
    "with zero-width and bidi controls": (TEXT.replace(" ", "\u200b \u202e\u2066\u2069").encode(), PARAGRAPHS),
    "of punctuation only": (b"... !! ?\n\n--\n", ["... !! ?", "--"]),
    "of digits only": (b"12 34\n\n56\n", ["12 34", "56"]),
    "with CR line ends": (TEXT.replace("\n", "\r").encode(), PARAGRAPHS),
    "with CR LF line ends": (TEXT.replace("\n", "\r\n").encode(), PARAGRAPHS),
    "with NEL line ends": (TEXT.replace("\n", "\x85").encode(), PARAGRAPHS),
    "with Unicode line separators": (TEXT.replace("\n", "\u2028").encode(), PARAGRAPHS),
    "with Unicode paragraph separators": (TEXT.replace("\n\n", "\u2029").encode(), PARAGRAPHS),
    "with mixed line ends": (TEXT.replace("\n\n", "\r\n\r", 3).replace("\n\n", "\n\x85", 3).encode(), PARAGRAPHS),
    "with a DOS end-of-file mark": (TEXT.encode() + b"\x1a", PARAGRAPHS),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_unusual_text_becomes_a_corpus(name: str, download: Download, count: Count) -> None:
    content, paragraphs = ACCEPTED[name]
    path = download.given / "own text.txt"
    path.write_bytes(content)
    assert sorted(download.corpus(path)) == sorted(paragraphs)
    assert path.read_bytes() == content
    count("Input", f"a text {name}", "a corpus of its paragraphs")


LARGE = [1, pytest.param(50, marks=pytest.mark.long)]


@pytest.mark.parametrize("megabytes", LARGE)
def test_a_text_of_one_huge_line_becomes_a_corpus(megabytes: int, download: Download, count: Count) -> None:
    line = (" ".join(ENGLISH) * (megabytes * 1_000_000 // len(" ".join(ENGLISH)) + 1)).strip()
    (download.given / "line.txt").write_text(line, encoding="utf-8")
    assert download.corpus(download.given / "line.txt") == [line]
    count("Input", f"a text of one line of {megabytes} MB", "a corpus of this line")


@pytest.mark.parametrize("times", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_one_word_again_and_again_becomes_a_corpus(times: int, download: Download, count: Count) -> None:
    (download.given / "word.txt").write_text("hola " * times, encoding="utf-8")
    assert download.corpus(download.given / "word.txt") == [" ".join(["hola"] * times)]
    count("Input", f"one word {times:,} times", "a corpus of this line, the language said to be unclear")


@pytest.mark.parametrize("number", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_paragraphs_become_a_corpus(number: int, download: Download, count: Count) -> None:
    paragraphs = [f"{ENGLISH[at % 12]} {at}" for at in range(number)]
    (download.given / "long.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    assert download.corpus(download.given / "long.txt") == paragraphs
    count("Input", f"a text of {number:,} paragraphs", "a corpus of its paragraphs")


@pytest.mark.parametrize("number", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_many_files_become_a_corpus(number: int, download: Download, count: Count) -> None:
    for at in range(number):
        (download.given / f"{at:04}.txt").write_text(f"{ENGLISH[at % 12]} {at}", encoding="utf-8")
    assert len(download.corpus(download.given / "*.txt")) == number
    count("Input", f"{number:,} text files", "a corpus of all of them")


def test_the_longest_name_and_two_equal_files_are_no_trouble(download: Download, count: Count) -> None:
    names = ["ñ" * 125 + ".txt", "same [1] 'x' $HOME.txt", "-rf.txt", "new\nline.txt"]
    for name in names:
        (download.given / name).write_text(TEXT, encoding="utf-8")
    assert sorted(download.corpus(download.given / "*.txt")) == sorted(PARAGRAPHS * len(names))
    assert sorted(download.corpus(download.given / names[1])) == sorted(PARAGRAPHS)
    count("Input", "file names of 254 bytes, with quotes, brackets, line breaks", "a corpus of these files", len(names))
    count("Input", "the same text in several files", "each is in the corpus", len(names))


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_file_that_grows_while_it_is_read_gives_what_was_read(
    rounds: int, download: Download, random: Random, count: Count
) -> None:
    path = download.given / "growing.txt"
    line = f"{ENGLISH[0]}\n\n".encode()
    for _ in range(rounds):
        path.write_bytes(line * 500)
        stop = threading.Event()
        writer = threading.Thread(target=append_until, args=(stop, path, line))
        writer.start()
        try:
            paragraphs = download.corpus(path)
        finally:
            stop.set()
            writer.join()
        [document] = json.loads((download.folder / "corpus_manifest.json").read_bytes())["documents"]
        assert set(paragraphs) == {ENGLISH[0]}
        assert document["sha256"] == sha256(line * len(paragraphs)).hexdigest()
    count("Input", "a file that grows while it is read", "a corpus of what was there, and its hash", rounds)


def append_until(stop: threading.Event, path: Path, line: bytes) -> None:
    while not stop.is_set():
        with path.open("ab", buffering=0) as stream:
            stream.write(line)
        stop.wait(0.0005)


TOKENIZED = {
    "one line of 2 MB": " ".join(ENGLISH * 700),
    "one word 200,000 times": "hola " * 200_000,
    "digits": "\n\n".join(f"{number} {number**3}" for number in range(20_000)),
    "punctuation": "\n\n".join("?!.,;:" * (1 + number % 9) for number in range(5_000)),
    "Chinese without spaces": "\n\n".join(f"{CHINESE * 5}{number}" for number in range(3_000)),
    "Arabic": "\n\n".join(f"{ARABIC} {number}" for number in range(5_000)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", TOKENIZED)
def test_the_tokenizer_takes_an_unusual_corpus_or_says_why_not(name: str, tmp_path: Path, count: Count) -> None:
    (tmp_path / "own.txt").write_text(TOKENIZED[name], encoding="utf-8")
    made = run_stage("download", tmp_path / "data", "--corpus-path", str(tmp_path / "own.txt"), tiny=False)
    assert made.returncode == 0, made.stderr
    corpus = (tmp_path / "data" / "corpus_bilingual.txt").read_bytes()
    done = run_stage("tokenizer", tmp_path / "data")
    assert "Traceback" not in done.stderr
    assert (done.returncode, "What to do: " in done.stderr) in ((0, False), (3, True)), done.stderr
    assert (tmp_path / "data" / "corpus_bilingual.txt").read_bytes() == corpus
    count("Input", f"a tokenizer of {name}", "a tokenizer" if not done.returncode else "exit 3, with what to do")
