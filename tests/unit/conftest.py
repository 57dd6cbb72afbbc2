"""The primer corpus shared by unit tests, generated once per session."""

from __future__ import annotations

import pytest

from minimal_llm.corpus.documents import Document
from minimal_llm.corpus.primer.documents import primer_documents

PRIMER_MEGABYTES = 3.0
PRIMER_SEED = 1234


@pytest.fixture(scope="session")
def primer() -> list[Document]:
    """The primer as `make train` generates it."""
    return list(primer_documents(PRIMER_MEGABYTES, PRIMER_SEED))
