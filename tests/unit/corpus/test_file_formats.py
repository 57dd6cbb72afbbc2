"""Files under a .txt name that are not text: refused by what they are, and no prose that resembles them."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from pathlib import Path

import pytest

from minimal_llm.common.errors import CorpusError
from minimal_llm.corpus.file_formats import text_format
from minimal_llm.corpus.text_files import read_documents
from tests.support.books import story

PARAGRAPHS = story("en", 12)
STORY = "\n\n".join(PARAGRAPHS)
ROWS = [f"{number},Ada {number},{paragraph}" for number, paragraph in enumerate(PARAGRAPHS)]
HTML_PARAGRAPHS = "\n".join(f"<p>{paragraph}</p>" for paragraph in PARAGRAPHS)


def archive(**members: str) -> bytes:
    """A ZIP file whose members have these names, with / for __ and . for _."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_", "."), content)
    return stream.getvalue()


NOT_TEXT = {
    "404": (b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not Found</body></html>", "an HTML page"),
    "short page": (b"<html>Not found</html>", "an HTML page"),
    "saved book": (f"<!-- saved from a browser -->\n<HTML>\n<HEAD></HEAD>{STORY}</HTML>".encode(), "an HTML page"),
    "page cut off": (f"<!doctype html><html><body>{HTML_PARAGRAPHS}".encode(), "an HTML page"),
    "xhtml": (f'<?xml version="1.0"?>\n<!DOCTYPE html>\n<html>\n{HTML_PARAGRAPHS}</html>'.encode(), "an HTML page"),
    "body only": (HTML_PARAGRAPHS.encode(), "an HTML page"),
    "latin1 page": (f"<html><body>{HTML_PARAGRAPHS}é</body></html>".encode("latin-1"), "an HTML page"),
    "xml": (f'<?xml version="1.0" encoding="UTF-8"?>\n<book><p>{STORY}</p></book>'.encode(), "XML"),
    "xml without declaration": (f"<TEI.2>\n<text><p>{STORY}</p></text>\n</TEI.2>\n".encode(), "XML"),
    "json": (json.dumps({"title": "A", "text": STORY}, indent=1).encode(), "JSON"),
    "json list": (b"\xef\xbb\xbf" + json.dumps(PARAGRAPHS).encode(), "JSON"),
    "json cut off": (json.dumps([{"text": STORY}]).encode()[:200], "JSON"),
    "json lines": ("".join(json.dumps({"text": text}) + "\n" for text in PARAGRAPHS).encode(), "JSON"),
    "csv": ("\r\n".join(["id,name,text", *ROWS]).encode(), "a table (CSV)"),
    "csv with quotes": (f'text,label\n"{PARAGRAPHS[0]}",1\n"{PARAGRAPHS[1]}\n\nTwo",0\n'.encode(), "a table (CSV)"),
    "csv with semicolons": ("\n".join(["id;nombre", "1;José", "2;Ana"]).encode(), "a table (CSV)"),
    "tsv": ("\n".join(["id\tname\ttext", *(row.replace(",", "\t") for row in ROWS)]).encode(), "a table (CSV)"),
    "rtf": (rf"{{\rtf1\ansi {STORY}}}".encode(), "an RTF document"),
    "postscript": (f"%!PS-Adobe-3.0\n{STORY}".encode(), "a PostScript document"),
    "pdf": (b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\n" + STORY.encode(), "a PDF document"),
    "epub": (archive(mimetype="application/epub+zip", OEBPS__1_xhtml=STORY), "an EPUB book"),
    "docx": (archive(_Content_Types_xml="<x/>", word__document_xml=STORY), "a Word document"),
    "odt": (archive(mimetype="application/vnd.oasis.opendocument.text"), "an OpenDocument file"),
    "zip": (archive(book_txt=STORY), "a ZIP archive"),
    "gzip": (gzip.compress(STORY.encode()), "a gzip archive"),
    "old word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "a Word document"),
    "kindle": (b"Book".ljust(60, b"\0") + b"BOOKMOBI" + bytes(100), "a Kindle book"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "an image"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
    "gif": (b"GIF89a\x01\0\x01\0", "an image"),
}


@pytest.mark.parametrize("name", NOT_TEXT)
def test_a_file_that_is_not_text_is_refused_by_what_it_is(name: str, tmp_path: Path) -> None:
    content, what = NOT_TEXT[name]
    path = tmp_path / "my book.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        list(read_documents([str(path)]))
    assert str(path) in caught.value.message
    assert what in caught.value.message
    assert "'my book.txt'" in caught.value.remedy or "my book.txt" not in caught.value.remedy
    assert "text" in caught.value.remedy


PROSE = {
    "opens with <": f"<Wait for me,> he said.\n\n{STORY}",
    "guillemets of ASCII": "\n\n".join(f"<<{paragraph}>>, dijo." for paragraph in story("es", 9)),
    "chat": "\n".join(f"<ada> {paragraph}" for paragraph in PARAGRAPHS),
    "about HTML": f"<html> is the first tag of a page, and <body> comes after it.\n\n{STORY}",
    "about XML": f'<?xml version="1.0"?> is what such a file begins with.\n\n{STORY}',
    "some tags": "\n\n".join(f"{paragraph} It was <i>so</i> dark.<br>" for paragraph in PARAGRAPHS),
    "a logo on top": f'<p align="center">\n<img src="a.png">\n</p>\n\n{STORY}',
    "a table": f"name,age,town\nAda,36,London\nBeto,40,Lima\n\n{STORY}",
    "a poem": "\n".join(["La luna vino a la fragua,", "con su polisón de nardos,", "el niño la mira, mira,"] * 20),
    "one comma a line": "\n".join(f"Era de noche,y llovía ({number})." for number in range(30)),
    "numbers": "\n".join(f"{number},{number * 7 % 10},{number * 3 % 10}" for number in range(50)),
    "amounts": "\n".join(f"{number},000,000" for number in range(1, 50)),
    "people": "\n".join(f"Nadie, Ada, {1800 + number}" for number in range(50)),
    "a screenplay": "INT. HOUSE - NIGHT\n\nADA\n(whispering)\nIt was not the first time.\n\nCUT TO:\n\n" + STORY,
    "Python": "import os\n\n\ndef f(a, b):\n    return {'a': [a, b], 'b': os.name}\n" * 20,
    "C": "#include <stdio.h>\n\nint main(void) { int a[] = {1, 2}; return a[0]; }\n" * 20,
    "LaTeX": f"\\documentclass{{book}}\n\\begin{{document}}\n{STORY}\n\\end{{document}}",
    "YAML": "name: Ada\nlist: [1, 2]\n" * 20,
    "brackets": f"[1] The first note.\n\n{STORY}",
    "an opening brace": f'{{"What is this?" she asked.}}\n\n{STORY}',
    "quoted word in brackets": f'["Sic"] was written above it.\n\n{STORY}',
    "PK": f"PK was what they called him.\n\n{STORY}",
    "GIF": f"GIF is the name of a file format.\n\n{STORY}",
    "glossary": "\n".join(f"word {number}\tla palabra {number}" for number in range(50)),
    "Markdown": "| name | age |\n| --- | --- |\n| Ada | 36 |\n",
}


@pytest.mark.parametrize("name", PROSE)
def test_prose_that_resembles_another_format_is_accepted(name: str, tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text(PROSE[name], encoding="utf-8")
    documents = list(read_documents([str(tmp_path / "prose.txt")]))
    kept = " ".join(paragraph for document in documents for paragraph in document.paragraphs)
    assert kept.split() == PROSE[name].split()


@pytest.mark.parametrize(
    "text", ["<", "<!--", "<!---->", "<?xml ", "<?xml?>", "[", '{"', '["a",', '"', "a,", "a,\n", "\n<p "]
)
def test_any_text_is_recognized_in_linear_time(text: str) -> None:
    began = time.process_time()
    text_format(text * (200_000 // len(text)))
    assert time.process_time() - began < 2.0
