"""What runs in nodes that are named, and are given descriptors."""

from __future__ import annotations

import os
from typing import Any

from beamlike import call, receive, reply, self_pid
from nodes import NodeUp, kill_node, list_nodes, monitor_node, spawn_link_at, spawn_monitor_at
from nodes.seam import given


async def read() -> None:
    """Answers one call by what is in the files that its node was given."""
    message = await receive()
    reply(message.caller, (self_pid().node, tuple(os.pread(each, 100, 0) for each in given())))


async def look() -> tuple[list[str], list[Any]]:
    """The names, and what each node has, and what the second has after it was killed."""
    names = list_nodes()
    lives = [await call(await spawn_link_at(name, read), "read") for name in names]
    other = names[1]
    monitor_node(other)
    kill_node(other)
    while type(await receive()) is not NodeUp:
        pass
    pid, _ = await spawn_monitor_at(other, read)
    return names, [*lives, await call(pid, "read")]
