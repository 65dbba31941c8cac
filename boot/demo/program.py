"""What runs in the nodes: the store's pairs, the pool, and on each node a resident, who has its clients; the killer; and main."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any

import beamlike
import caps
from beamlike import (
    BadNameError,
    Caller,
    CallError,
    ChildSpec,
    GenServer,
    Pid,
    call,
    process_info,
    receive,
    record,
    self_pid,
    send,
    sleep,
    spawn_at,
    spawn_link,
)
from boot.demo.clients import write_all_the_time
from boot.demo.journal import Journal
from boot.demo.killer import RESIDENTS, join_session, kill_all_the_time
from boot.demo.pool import start_pool
from boot.demo.store import Store, name_of
from nodes import DistributedSupervisor, Pair, call_pair, join, list_nodes, start_pair, start_partitioned, where_is_pair

CLIENT = "boot.demo.clients:write_all_the_time"  # as `process_info` names what a client began with
RESIDENT = "boot.demo.program:Resident"
LOOK = 0.02  # seconds between two looks whether the run has begun, or is over
PATIENCE = 20.0  # seconds until all are to be back and at rest


@record
class Plan:
    """Of a run. `every`: seconds from kill to kill. `clients`: on each node."""

    nodes: int
    seed: int
    every: float
    clients: int
    pairs: int
    workers: int


async def main(address: tuple[Any, ...], plan: Plan) -> None:
    """Start everything, if this is the first life of main; when time is up and all are back, have the journal told what is in the store."""
    journal = Journal.open(address)
    if not journal.begun:
        await _set_up(address, plan, tuple(list_nodes()))
        journal.tell("began", processes=await _census())
        journal.begin(plan.every)
    while not journal.is_over:
        await sleep(LOOK)
    counts: dict[str, int] = {}
    while monotonic() < journal.end + PATIENCE:
        counts = await _census()
        if counts.get(RESIDENT) == plan.nodes and CLIENT not in counts and all(_is_whole(name_of(pair)) for pair in range(plan.pairs)):
            break
        await sleep(LOOK)
    else:
        journal.tell("failed", what=f"not all is back and at rest {PATIENCE} s after the end: there are {counts}")
    for pair in range(plan.pairs):
        try:
            kept = await call_pair(name_of(pair), "all", timeout=PATIENCE)
        except CallError as error:
            journal.tell("failed", what=str(error))
            continue
        for key, written in kept.items():
            journal.tell("kept", key=key, last=written.last, missing=written.missing, doubled=written.doubled)
    journal.tell("ended", processes=counts)


async def _set_up(address: tuple[Any, ...], plan: Plan, roster: tuple[str, ...]) -> None:
    for pair in range(plan.pairs):
        await spawn_at(roster[pair % len(roster)], _start_store, self_pid(), name_of(pair))
        await receive(Pair)
    await start_pool(plan.workers)
    may = caps.all_but("spawn", "register", "process_info", "send")
    await start_partitioned(Resident, address, plan, roster, name=Resident.NAME, exclude=may)
    killer = ChildSpec.of(
        kill_all_the_time, address, roster, plan.seed, plan.every, plan.pairs, id="killer", exclude=caps.all_but("node", "system")
    )
    await DistributedSupervisor.start("demo.killer", [killer])


async def _start_store(asker: Pid, name: str) -> None:
    send(asker, await start_pair(Store, name=name, exclude=caps.all_but()))


def _is_whole(pair: str) -> bool:
    place = where_is_pair(pair)
    return place is not None and place[1] is not None


async def _census() -> dict[str, int]:
    """How many processes there are on all nodes that are up, by what they began with."""
    counts: Counter[str] = Counter()
    for node in list_nodes():
        with suppress(CallError, BadNameError):  # it is lost, or only just back
            counts.update(await call((Resident.NAME, node), "census"))
    return dict(counts)


class Resident(GenServer):
    """One on each node: has its clients, and counts its processes."""

    NAME = "demo.resident"

    async def init(self, address: tuple[Any, ...], plan: Plan, roster: tuple[str, ...]) -> None:
        await join(RESIDENTS)
        await join_session()
        Journal.open(address).tell("up", node=self_pid().node)
        first = roster.index(self_pid().node) * plan.clients
        for slot in range(first, first + plan.clients):
            spawn_link(write_all_the_time, address, slot, plan.pairs, exclude=caps.all_but("send"))

    async def handle_call(self, request: str, caller: Caller) -> dict[str, int]:
        return dict(Counter(str(info.initial_call) for info in map(process_info, beamlike.processes()) if info is not None))


def quiet() -> None:
    """Run in each node first: deaths are the show, and no news."""
    logging.getLogger("beamlike").setLevel(logging.CRITICAL)
