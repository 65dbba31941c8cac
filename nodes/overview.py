"""What a node tells of its processes to who looks into the system: a process on each node, that starts one for each question.

A node may have a million processes: it looks at them a few at a time, tells of `limit` of them in detail, and of the others how many there
are.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

import trio

import beamlike
import caps
from beamlike import Call, Caller, CallError, ChildInfo, Pid, Supervisor, io, monitor, process_flag, receive, reply, sleep, spawn
from beamlike.seam import Process, current_process, describe, extra, mailbox_length, outside

SERVICE: Final = "beamlike.overview"
BATCH: Final = 50  # processes that are looked at before others have their turn
DESCRIBING: Final = 30.0  # seconds to sort by what has to be worked out of each process: its memory
PATIENCE: Final = 1.0  # seconds for a supervisor to tell of its children: one that starts a child answers nobody
MOST_LINKS: Final = 20
MOST_TERMS: Final = 20
MOST_SUPERVISORS: Final = 1000
MOST_SHOWN: Final = 80  # characters of a label or an id

# What `processes` can be sorted by; the most first, but for pids, where the oldest is first.
SORTS: Final[dict[str, Callable[[Process], Any]]] = {
    "pid": lambda process: -process.pid.serial,
    "reductions": lambda process: process.reductions,
    "mailbox": mailbox_length,
    "memory": lambda process: describe(process).memory,
}


async def tell_of_processes() -> None:
    """The process `beamlike.overview`."""
    process_flag("label", "overview")
    while True:
        match await receive():
            case Call(caller, (str(kind), *args)) if kind in ANSWERS:
                spawn(_answer, caller, kind, tuple(args))


async def _answer(caller: Caller, kind: str, args: tuple[Any, ...]) -> None:
    process_flag("label", f"overview: {kind}")
    extra(current_process()).is_service = True
    reply(caller, await ANSWERS[kind](*args))


async def _list(sort: str, limit: int) -> dict[str, Any]:
    """`rows`: of the first processes in this order; `total`: how many there are."""
    first, total = await _first(SORTS[sort], limit)
    return {"rows": [row for row, _ in await _rows(first)], "total": total}


async def _list_busiest(seconds: float, limit: int) -> dict[str, Any]:
    """The same of those that have run most in the seconds from now; `recent` is how many reductions."""
    before: dict[Pid, int] = {}
    async for process in _all():
        before[process.pid] = process.reductions
    await sleep(seconds)
    first, total = await _first(lambda process: process.reductions - before.get(process.pid, 0), limit)
    return {"rows": [{**row, "recent": count} for row, count in await _rows(first)], "total": total}


async def _list_unikernels() -> list[dict[str, Any]]:
    """The programs that run outside of this node and belong to it."""
    return [
        {
            "name": program.title,
            "node": process.pid.node,
            "pid": str(process.pid),
            "core": program.core,
            "os_pid": program.os_pid(),
            "started": program.started,
            "cpu": program.cpu_seconds(),
        }
        for process, program in outside.items()
    ]


async def _kill_unikernel(pid: str) -> bool:
    """Kill the one with this pid, and wait for its end. False: there is none."""
    for process, program in outside.items():
        if str(process.pid) == pid:
            monitor(process.pid)
            program.kill()
            await receive()
            return True
    return False


async def _tree(limit: int) -> dict[str, Any]:
    """`supervisors`, each with its `children`, or None for these if it did not answer; `more` of them there are; `others`: how many
    processes are neither supervisors nor children of one."""
    total = 0
    supervisors = []
    async for process in _all():
        total += 1
        if process.extra is not None and process.extra.is_supervisor:
            supervisors.append(process.pid)
    told: dict[Pid, list[ChildInfo] | None] = {}
    async with io(), trio.open_nursery() as nursery:
        for pid in supervisors:
            nursery.start_soon(_ask, pid, told)
    children = {child.pid for each in told.values() for child in each or () if child.pid is not None and child.pid.process is not None}
    rows = []
    for pid in supervisors[:MOST_SUPERVISORS]:
        row = _row(pid)
        if row is not None and pid in told:
            found = told[pid]
            row["children"] = None if found is None else [await _child_row(pid, child) for child in found[:limit]]
            row["more"] = max(0, len(found or ()) - limit)
            rows.append(row)
    others = max(0, total - len(children.union(told)))
    return {"supervisors": rows, "more": max(0, len(supervisors) - MOST_SUPERVISORS), "others": others}


async def _ask(supervisor: Pid, told: dict[Pid, list[ChildInfo] | None]) -> None:
    told[supervisor] = None
    try:
        with trio.move_on_after(PATIENCE):
            told[supervisor] = await Supervisor.which_children(supervisor)
    except CallError:  # it has ended
        del told[supervisor]


async def _child_row(supervisor: Pid, child: ChildInfo) -> dict[str, Any]:
    await sleep(0)
    row = (None if child.pid is None else _row(child.pid)) or {"pid": child.pid and str(child.pid)}
    links = [link for link in row.get("links", ()) if link != str(supervisor)]
    return {**row, "id": _shown(child.id), "status": child.status, "type": child.type, "restart": child.restart, "links": links}


async def _first(key: Callable[[Process], Any], limit: int) -> tuple[list[tuple[Any, Pid]], int]:
    """The processes with the greatest keys, which come first, of equal ones the oldest; and how many processes there are."""
    total = 0
    heap: list[tuple[Any, int, Pid]] = []  # the least of those that are kept first
    async for process in _all():
        total += 1
        item = (key(process), -total, process.pid)
        if len(heap) < limit:
            heapq.heappush(heap, item)
        elif limit and item > heap[0]:
            heapq.heapreplace(heap, item)
    return [(value, pid) for value, _, pid in sorted(heap, reverse=True)], total


async def _all() -> AsyncIterator[Process]:
    """Every process that is alive, the oldest first; others have their turns meanwhile."""
    for number, pid in enumerate(beamlike.processes()):
        if number % BATCH == BATCH - 1:
            await sleep(0)
        if pid.process is not None:
            yield pid.process


async def _rows(chosen: list[tuple[Any, Pid]]) -> list[tuple[dict[str, Any], Any]]:
    """Of those that are alive yet, with their keys."""
    rows = []
    for number, (key, pid) in enumerate(chosen):
        if number % BATCH == BATCH - 1:
            await sleep(0)
        row = _row(pid)
        if row is not None:
            rows.append((row, key))
    return rows


def _row(pid: Pid) -> dict[str, Any] | None:
    """What is told of one process, in plain values. None if it has ended, or is not of this node."""
    if pid.process is None:
        return None
    info = describe(pid.process)
    return {
        "pid": str(pid),
        "node": pid.node,
        "name": info.registered_name,
        "label": None if info.label is None else _shown(info.label),
        "function": info.initial_call,
        "current": None if info.current_function is None else f"{info.current_function}:{info.current_line}",
        "status": info.status,
        "mailbox": info.mailbox_length,
        "links": [str(link) for link in info.links[:MOST_LINKS]],
        "reductions": info.reductions,
        "memory": info.memory,
        **_capabilities(info.exclusions, frozenset() if pid.process.extra is None else pid.process.extra.closed),
    }


def _capabilities(exclusions: Iterable[tuple[caps.Term, ...]], closed: frozenset[str]) -> dict[str, Any]:
    """`has`: the kinds of access that are not closed to it altogether; `except`: what its exclusions say about these."""
    terms = dict.fromkeys(term for layer in exclusions for term in layer)
    closed = closed.union(term[0] for term in terms if term[1:] == ("all",))
    partial = [_shown(term) for term in terms if term[0] not in closed]
    return {"has": [kind for kind, _ in caps.all_but() if kind not in closed], "except": partial[:MOST_TERMS]}


def _shown(value: Any) -> str:
    try:
        text = value if type(value) is str else repr(value)
    except Exception as fault:  # noqa: BLE001 - a value's own code may raise anything
        text = f"<{type(value).__qualname__}, whose repr() raised {type(fault).__qualname__}>"
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


ANSWERS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "processes": _list,
    "busiest": _list_busiest,
    "tree": _tree,
    "unikernels": _list_unikernels,
    "kill": _kill_unikernel,
}
