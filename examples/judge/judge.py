"""An online judge: it takes programs from strangers over HTTP, and runs them.

Each solution runs in a cell, once for each test case of its problem: an OS process behind walls, with limits, that knows the input and
nothing else. The judge itself runs with as little as it needs. The tree:

    Supervisor (rest_for_one)
    ├── queue           submissions that wait; so many, and then it says "busy"
    ├── Supervisor (one_for_one: a judge's end is its own)
    │   ├── judge-1     runs one submission at a time, in cells that are linked to it
    │   └── …
    └── door            listens at 127.0.0.1, and starts a process for each connection

    pip install 'beamlike[judge]'
    beamlike run examples/judge/judge.py [PORT]
"""

import os
import sys

from bench import Judge, Queue
from web import Door

from beamlike import ChildSpec, Supervisor, call, receive
from cells import spawn_cell

MOST_WAITING = 32  # submissions
JUDGES = len(os.sched_getaffinity(0))

# A tree that opens no file, connects to nobody, makes no thread, calls no C and kills nobody but its own; the door alone has the net.
OF_ALL = [
    ("file", "all"),
    ("blocking", "all"),
    ("ffi", "all"),
    ("device", "all"),
    ("port_io", "all"),
    ("raw_memory", "all"),
    ("node", "all"),
]
NO_NET = [("net", "all")]


async def open_judge(port: int, judges: int = JUDGES, most_waiting: int = MOST_WAITING) -> int:
    """Start the tree, linked to the caller. Returns the port.

    Raises: CellUnavailable: there can be no cells here, and then there is no judge.
    """
    await spawn_cell("", None)  # the first cell takes longer than others
    bench = [ChildSpec.of(Judge, id=name, name=name, exclude=NO_NET) for name in (f"judge-{n}" for n in range(1, judges + 1))]
    children = [
        ChildSpec.of(Queue, most_waiting, name="queue", exclude=NO_NET),
        ChildSpec.of(Supervisor, bench, intensity=100, period=1.0, exclude=NO_NET),
        ChildSpec.of(Door, port, name="door", exclude=[("only", ("net", "127.0.0.1", port or None))]),
    ]
    await Supervisor.start_link(children, strategy="rest_for_one", exclude=OF_ALL)
    return int(await call("door", "port"))


async def main() -> None:
    """Open it and wait for Ctrl-C."""
    port = await open_judge(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    print(f"the judge is at http://127.0.0.1:{port}", flush=True)
    await receive()
