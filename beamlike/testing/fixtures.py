"""A pytest plugin, for use with pytest-trio.

In the conftest.py at the root of the tests: `pytest_plugins = ["beamlike.testing.fixtures"]`, and in pytest's configuration
`trio_mode = true`, by which pytest-trio runs every async test; without it, mark those that use these fixtures with `@pytest.mark.trio`.
It is no entry point, so that what does not ask for it pays nothing and has its own fixtures called `node`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
import trio.testing
from pytest_trio import trio_fixture  # type: ignore[import-untyped]

from beamlike.embedding import node as open_node
from beamlike.hot.ids import Pid
from beamlike.testing.recorder import Recorder


@trio_fixture  # type: ignore[untyped-decorator]
async def node() -> AsyncIterator[Pid]:
    """A node of which the test's body is a process, in trio mode; the value is its pid. Its processes are stopped when the test is over.

    With pytest-trio's `autojump_clock` or `mock_clock` the node's time is virtual, too. A test that is to be deterministic uses `@seeds`.
    """
    async with open_node() as pid:
        try:
            yield pid
        finally:
            clock = trio.lowlevel.current_clock()
            if isinstance(clock, trio.testing.MockClock):
                clock.autojump_threshold = 0  # who has some seconds to stop must not have them on a clock that stands still


@trio_fixture  # type: ignore[untyped-decorator]
async def recorder(node: Pid) -> Recorder:
    """A `Recorder` on that node."""
    return Recorder()
