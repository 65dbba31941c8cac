"""Starting a process pair: a name that no other has, the primary on this node, and its backup."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from beamlike import IGNORE, BadNameError, CallError, GenServer, Started, start_behaviour
from beamlike.seam import INFINITY, check_access, check_name, current_process
from nodes import pair_directory
from nodes.here import joined
from nodes.pair_backup import make
from nodes.pair_directory import Entry
from nodes.pair_ledger import Ledger
from nodes.pair_primary import Primary, Superseded, Unpaired
from nodes.pairs import Pair, find


async def start_pair(
    kind: type[GenServer], *args: Any, name: str, unpaired: Unpaired = "answer", timeout: float | None = None, exclude: Any = ()
) -> Pair:
    """Start a pair: the primary on this node, the backup on another. Returns when `init(*args)` is done and the backup is there.

    It is linked to nobody and outlives its node; `kind.start_link(…, name=…, backup=True)` gives a pid to link and to supervise.

    Args:
        name: unique among the pairs of all nodes.
        unpaired: what it does while there is no other node to have a backup on: `answer`, or let all wait until there is one.
        timeout, exclude: as of `GenServer.start_link`.

    Raises: as `GenServer.start_link`, what `init` raised above all; BadNameError if there is such a pair; RuntimeError on a node that is
    alone."""
    joined()
    check_access("register", check_name(name))
    if not (isinstance(kind, type) and issubclass(kind, GenServer)):
        raise TypeError(f"start_pair expects a subclass of GenServer, not {kind!r}")
    if unpaired not in ("answer", "wait"):
        raise ValueError(f"unpaired is 'answer' or 'wait', not {unpaired!r}")
    initial_call = f"{kind.__module__}:{kind.__qualname__}"
    outcome = await start_behaviour(
        _lead, kind, name, unpaired, *args, link=False, timeout=timeout, exclude=exclude, initial_call=initial_call
    )
    return Pair(name) if outcome is not IGNORE else cast("Pair", IGNORE)


async def _lead(started: Started, kind: type[GenServer], name: str, unpaired: Unpaired, *args: Any) -> None:
    """The first primary."""
    epoch = await _claimed(name)
    primary = Primary(kind(), name, unpaired, Ledger(), epoch, make)
    if await primary.begin(args) is IGNORE:
        started.ignore()
        return
    primary.epoch = await _claimed(name)  # the conductor may be another than before `init`
    try:
        await primary.pair()
    except Superseded as other:
        raise BadNameError(str(other)) from None
    started.ok()
    await primary.run(deque())


async def _claimed(name: str) -> int:
    """The epoch to begin with. BadNameError if there is, or is about to be, such a pair."""
    gone = 0
    while True:
        match await pair_directory.claim(name, gone, current_process().pid):
            case ("ok", int(epoch)):
                return max(epoch, gone) + 1
            case ("claimed", holder):
                raise BadNameError(f"the name {name!r} of a pair is taken by {holder}, which starts one")
            case ("known", Entry() as entry):
                pair_directory.learn(entry)
                if entry.primary is not None and await _is_there(name):
                    raise BadNameError(f"there is a pair {name!r} already, its primary is {pair_directory.table[name].primary}")
                gone = pair_directory.table[name].epoch


async def _is_there(name: str) -> bool:
    try:
        await find(name, set(), INFINITY, is_alive=True)
    except CallError:
        return False
    return True
