"""What runs on every node besides the program: one supervisor with the processes of load, global names, groups, placing, pairs,
and of what is told to who looks into the system."""

from __future__ import annotations

from collections.abc import Callable

import trio

import caps
from beamlike import ChildSpec, Supervisor, process_flag, receive
from beamlike.seam import serve, start
from nodes import global_names, groups, load, overview, pair_directory, placing

SUPERVISOR = "beamlike.nodes"
for name in (global_names.SERVICE, groups.SERVICE, placing.SERVICE, pair_directory.NAME, overview.SERVICE):
    serve(name)


async def start_services() -> None:
    """Start them; return when they are ready for other nodes. Called in trio, when the node is open and has learned of itself.

    Raises: RuntimeError if they could not be started; the crash report says why.
    """
    over = trio.Event()
    ready: list[bool] = []
    start(_keep, (over, ready.append), parent=None)
    await over.wait()
    if not ready:
        raise RuntimeError("the services of this node could not be started")


async def _keep(over: trio.Event, ready: Callable[[bool], None]) -> None:
    """The process that the supervisor is linked to."""
    try:
        await _start()
        ready(True)
    finally:
        over.set()
    await receive(lambda message: False)


async def _start() -> None:
    process_flag("label", "nodes")
    children = [
        ChildSpec.of(load.tell_load, exclude=caps.all_but()),
        ChildSpec.of(global_names.GlobalNames, name=global_names.SERVICE, exclude=caps.all_but("send")),
        ChildSpec.of(groups.Groups, name=groups.SERVICE, exclude=caps.all_but("send")),
        ChildSpec.of(placing.Placing, name=placing.SERVICE),  # what it starts is the program's, and would inherit its exclusions
        ChildSpec.of(pair_directory.serve, name=pair_directory.NAME, exclude=caps.all_but("send")),
        ChildSpec.of(overview.tell_of_processes, name=overview.SERVICE, exclude=caps.all_but("send", "spawn")),
    ]
    await Supervisor.start_link(children, intensity=10, period=1.0, name=SUPERVISOR)
