"""Where the halves of each process pair are: a table a node, kept by its process `$pairs`.

Theory of operation. Each pair has an *epoch*, a number that grows with each change of its halves; of two entries the one with the higher
epoch is the newer. Only the primary of a pair changes its entry, and tells all nodes; a node that comes up is told by the nodes of the
primaries. So every node knows nearly always, and no node is needed for it. A client that finds nobody alive where the table says asks all
nodes, and waits for a newer entry.

That two pairs are not started under one name at the same time the directory of the conductor sees to: `claim`. A claim dies with the
conductor: so it is made again before the pair is told to all; and where two were told, the one that `_rank` puts behind ends.
"""

from __future__ import annotations

from typing import Any, Final

from beamlike import Call, CallError, Down, Pid, make_ref, monitor, receive, record, reply, self_pid, send, sleep
from beamlike.seam import BEGUN, INFINITY, Wait, ask_service, caller, make_wait, start, tell, until_one_is_over
from nodes.here import joined
from nodes.membership import NodeDown, NodeUp

NAME: Final = "$pairs"
MOST_ENDED: Final = 1000  # pairs that have ended, remembered for why
CLAIM_PATIENCE: Final = 0.05  # seconds before a new conductor is asked again


@record
class Entry:
    """Where a pair is. `primary` None: it has ended, with `reason`."""

    name: str
    primary: Pid | None
    backup: Pid | None
    epoch: int
    reason: Any = None


table: dict[str, Entry] = {}
_ended: dict[str, None] = {}  # names in `table` of pairs that have ended, oldest first
_waiting: dict[str, set[Wait]] = {}  # who waits for a newer entry
_claims: dict[str, Pid] = {}  # at the conductor: who is about to start a pair of that name
_lonely: dict[Pid, None] = {}  # primaries of this node that look for a node for their backup


def start_services() -> None:
    """Start the directory of this node. Called once its node is open, and before it is announced."""
    start(serve, (), parent=None, name=NAME)


async def serve() -> None:
    """The process `$pairs`. The table outlives it; what was told while it was down it asks for."""
    life = joined()
    for name in life.membership.roster:
        if name != life.node.id.name:
            life.membership.monitor(self_pid(), name)
    for claimer in set(_claims.values()):
        monitor(claimer)
    for name in life.membership.members:
        send((NAME, name), ("welcome", life.node.id.name))
    while True:
        match await receive():
            case ("entry", Entry() as entry):
                learn(entry)
            case ("welcome", str(node)):
                _welcome(node)
            case Call(asker, ("entry", str(name))):
                reply(asker, table.get(name))
            case ("tell", str(name), str(node)):
                if name in table:
                    send((NAME, node), ("entry", table[name]))
            case Call(asker, ("claim", str(name), int(epoch), Pid() as claimer)):
                holder = _claims.get(name)
                newest = table[name].epoch if name in table else 0
                if holder is not None and holder != claimer:
                    reply(asker, ("claimed", holder))
                elif newest > epoch:
                    reply(asker, ("known", table[name]))
                else:
                    _claims[name] = claimer
                    monitor(claimer)
                    reply(asker, ("ok", newest))
            case Down(_, Pid() as claimer, _):
                for name in [name for name, holder in _claims.items() if holder == claimer]:
                    del _claims[name]
            case NodeUp(node):
                _welcome(node)
            case NodeDown():
                pass  # the backups see to it


def _welcome(node: str) -> None:
    """A node has come: it is told of the pairs whose primary is here, and those of them that have no backup may make one there."""
    here = joined().node.id
    for entry in table.values():
        if entry.primary is None or entry.primary.origin == here:
            send((NAME, node), ("entry", entry))
    for primary in list(_lonely):
        if primary.process is None:
            del _lonely[primary]
        else:
            send(primary, ("$node_up", node))


def look_for_node(primary: Pid, wanted: bool) -> None:
    """Have a primary of this node told of every node that comes, `("$node_up", name)`; or no longer."""
    if wanted:
        _lonely[primary] = None
    else:
        _lonely.pop(primary, None)


def learn(entry: Entry) -> bool:
    """Keep an entry, if it is newer than what is known, and let those go on who wait for one. A primary that is here and that it knows
    nothing of is told `("$superseded",)`. Was it newer?"""
    known = table.get(entry.name)
    if known is not None:
        if _rank(known) >= _rank(entry):
            return False
        if known.primary is not None and known.primary != entry.primary and known.primary.process is not None:
            tell(known.primary, ("$superseded",))
    table[entry.name] = entry
    _ended.pop(entry.name, None)
    _claims.pop(entry.name, None)
    if entry.primary is None:
        _ended[entry.name] = None
        if len(_ended) > MOST_ENDED:
            oldest = next(iter(_ended))
            del _ended[oldest], table[oldest]
    for wait in _waiting.pop(entry.name, ()):
        wait.answer(None)
    return True


def _rank(entry: Entry) -> tuple[int, int, int]:
    """Two pairs may have begun with one epoch if the conductor died: on all nodes the same of them is the newer."""
    pid = entry.primary
    return (entry.epoch, 0, 0) if pid is None else (entry.epoch, pid.origin.incarnation, pid.serial)


def tell_all(entry: Entry) -> bool:
    """The primary says where its pair is now. False: there is a newer entry, so it is not the primary any more."""
    if not learn(entry):
        return False
    for node in joined().membership.members:
        tell((NAME, node), ("entry", entry))
    return True


def ask_all(name: str) -> None:
    """Have every node tell this one what it knows."""
    life = joined()
    for node in life.membership.members:
        tell((NAME, node), ("tell", name, life.node.id.name))


async def learn_of(name: str) -> None:
    """Know what any node that is up knows."""
    members = joined().membership.members
    for node, member in list(members.items()):
        while members.get(node) is member:
            try:
                entry = await ask_service((NAME, node), ("entry", name), None)
            except CallError:  # its directory is being started again, or the connection was lost
                await sleep(CLAIM_PATIENCE)
                continue
            if entry is not None:
                learn(entry)
            break


async def newer(name: str, epoch: int, timeout: float) -> None:
    """Wait until there is an entry of a higher epoch, for at most `timeout` seconds."""
    if name in table and table[name].epoch > epoch:
        return
    wait = make_wait(caller("call_pair"), None, None, INFINITY)
    wait.ref, wait.state = make_ref(), BEGUN
    _waiting.setdefault(name, set()).add(wait)
    try:
        await until_one_is_over([wait], timeout)
    finally:
        waits = _waiting.get(name)
        if waits is not None:
            waits.discard(wait)
            if not waits:
                del _waiting[name]


async def claim(name: str, epoch: int, claimer: Pid) -> tuple[str, Any]:
    """Claim a name for a pair that is about to start, until `claimer` ends.

    `epoch`: that of the last entry of a pair that is known to be gone; 0 if there was none. Returns `("ok", epoch)` to start above,
    `("claimed", pid)` if somebody else starts one, `("known", entry)` if there is a newer pair."""
    while True:
        try:
            answer: tuple[str, Any] = await ask_service((NAME, joined().membership.conductor().name), ("claim", name, epoch, claimer), None)
        except CallError as error:
            if error.reason not in ("noconnection", "noproc"):
                raise
            await sleep(CLAIM_PATIENCE)
        else:
            return answer
