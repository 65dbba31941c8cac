"""`backup=True` where there is no other node; what pairs do is in pairs_checks.py, run by test_services.py."""

from __future__ import annotations

import pytest

import beamlike
from beamlike import GenServer


class Server(GenServer):
    """Not started."""


async def _start_alone() -> None:
    await Server.start_link(name="alone", backup=True)


def test_on_a_node_that_is_alone_backup_true_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"nodes\.run"):
        beamlike.run(_start_alone)
