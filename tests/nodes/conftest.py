"""A system of real nodes that the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules of checks are imported here as they are in the nodes

from system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Three nodes for as long as the tests run."""
    system = System(tmp_path_factory.mktemp("system"))
    yield system
    system.close()
