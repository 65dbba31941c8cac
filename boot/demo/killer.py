"""The killer: every so often it ends an OS process of the system by SIGKILL, drawn from all but the owner.

What pairs promise holds as long as one of the two nodes of each lives. So who is drawn is spared if it has the last half of a pair that
is not whole again yet; the next in the order that was drawn dies instead, and that is counted.

A node is drawn OFTEN times as often as the forge: that imports all that nodes need, so its start takes as long as those of many nodes, and
meanwhile none comes back; and it is spared until a node of its own is up.

The killer is a child of a DistributedSupervisor: the node that it kills may be its own. The one that is started elsewhere goes on with
the next draw. The seed and the number of a kill alone decide who is drawn.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from time import monotonic

from beamlike import process_flag, receive, self_pid, sleep
from boot.demo.journal import Journal
from boot.demo.store import name_of
from nodes import NodeDown, chaos, demonitor_node, join, list_groups, list_nodes, members, monitor_node, where_is_pair

RESIDENTS = "demo.residents"  # the group that a process of each node joins
FORGE = "forge"
OFTEN = 3
LOOK = 0.002  # seconds between two looks at the clock, and whether somebody may be killed


async def kill_all_the_time(address: tuple[object, ...], roster: tuple[str, ...], seed: int, every: float, pairs: int) -> None:
    """The process: kill until the end of the run, from where the killer before it was killed."""
    process_flag("label", "killer")
    journal = Journal.open(address)
    while not journal.is_over:
        if journal.begun and monotonic() >= journal.next_kill:
            await _kill_one(journal, order_of(seed, journal.drawn, roster), every, pairs)
        await sleep(LOOK)
    await receive(lambda message: False)


def order_of(seed: int, kill: int, roster: tuple[str, ...]) -> list[str]:
    """Who is to be killed, and in whose place if that one is to be spared: all of them, in the order that is drawn for this kill."""
    drawn = random.Random(f"{seed} {kill}").sample([*roster * OFTEN, FORGE], len(roster) * OFTEN + 1)
    return list(dict.fromkeys(drawn))


async def _kill_one(journal: Journal, drawn: list[str], every: float, pairs: int) -> None:
    """Kill the first of these that may be; wait until one may. Return when its end is known here."""
    due = monotonic()
    spared: set[str] = set()
    while not journal.is_over:
        last = _last_halves(pairs)
        for victim in drawn:
            if victim in last:
                spared.add(victim)
            elif victim == FORGE and _has_forged():
                journal.draw(every)
                _tell(journal, victim, [FORGE], spared, due)
                with suppress(ValueError):  # it has just died of something else
                    chaos.kill_forge()
                return
            elif victim in list_nodes():
                journal.draw(every)
                _tell(journal, victim, _roles(victim, pairs), spared, due)
                monitor_node(victim)
                chaos.kill(victim)
                await receive(lambda message, victim=victim: type(message) is NodeDown and message.name == victim)
                demonitor_node(victim)
                return
        await sleep(LOOK)


def _tell(journal: Journal, victim: str, roles: list[str], spared: set[str], due: float) -> None:
    is_in_flight = any(slot.is_in_flight for slot in journal.slots)
    journal.tell("killed", victim=victim, roles=roles, spared=len(spared), late=monotonic() - due, in_flight=is_in_flight)


def _last_halves(pairs: int) -> set[str]:
    """The nodes that hold the last half of a pair; all of them as long as it is not known where one is."""
    origins = {pid.origin for pid in members(RESIDENTS) if pid.node in list_nodes()}
    last: set[str] = set()
    for number in range(pairs):
        place = where_is_pair(name_of(number))
        alive = [half.node for half in place or () if half is not None and half.origin in origins]
        if not alive:
            return set(list_nodes())
        if len(alive) == 1:
            last.update(alive)
    return last


def _roles(victim: str, pairs: int) -> list[str]:
    """What this node is, besides a node."""
    places = [where_is_pair(name_of(number)) for number in range(pairs)]
    found = [
        (chaos.conductor() == victim, "conductor"),
        (any(place is not None and place[0].node == victim for place in places), "primary"),
        (any(place is not None and place[1] is not None and place[1].node == victim for place in places), "backup"),
        (self_pid().node == victim, "killer"),
    ]
    return [role for is_one, role in found if is_one]


async def join_session() -> None:
    """Have it known which forge this node comes from: the one that leads its session."""
    await join((FORGE, os.getsid(0)))


def _has_forged() -> bool:
    """Is a node up that comes from the forge that there is now? Were that killed as soon as it is there, no node would ever come back."""
    return any(type(group) is tuple and group[0] == FORGE and members(group) and _leads(group[1]) for group in list_groups())


def _leads(pid: int) -> bool:
    """Is there such an OS process, which leads its session?"""
    with suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False
