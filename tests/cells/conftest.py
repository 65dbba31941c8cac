"""The corpus and its range are imported by their names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hosting import Host  # noqa: E402 - it lies there


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A node for the checks of a module."""
    host = Host()
    yield host
    host.close()
