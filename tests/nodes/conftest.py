"""A system of real nodes that the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Three nodes for as long as the tests run."""
    system = System(tmp_path_factory.mktemp("system"))
    yield system
    system.close()
