"""Process pairs, on real nodes that are really killed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import beamlike
from beamlike import GenServer

sys.path.insert(0, str(Path(__file__).parent))

from in_system import checks_of, run_checks


@pytest.fixture(scope="module")
def outcome() -> dict[str, str]:
    return run_checks("pairs_checks", nodes=4)


@pytest.mark.parametrize("check", checks_of("pairs_checks"))
def test_pairs(check: str, outcome: dict[str, str]) -> None:
    assert outcome[check] == ""


class Server(GenServer):
    """Not started."""


async def _start_alone() -> None:
    await Server.start_link(name="alone", backup=True)


def test_on_a_node_that_is_alone_backup_true_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"nodes\.run"):
        beamlike.run(_start_alone)
