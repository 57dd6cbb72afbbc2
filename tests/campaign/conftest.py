"""What the tests of faults share. They use the folders of tests/conftest.py and the clones of tests/integration."""

from __future__ import annotations

from random import Random

import pytest

from tests.integration.conftest import (  # noqa: F401  # fixtures
    experimental,
    first_clone,
    killed_folder,
    trained,
    untouched_folder,
)
from tests.support.campaign import Count, count, seeded
from tests.support.download import _download, _good  # noqa: F401  # fixtures


@pytest.fixture(name="count")
def _count() -> Count:
    """Count a fault for docs/RELIABILITY.md."""
    return count


@pytest.fixture
def random(request: pytest.FixtureRequest) -> Random:
    """Random numbers from the seed of the session."""
    return seeded(request)
