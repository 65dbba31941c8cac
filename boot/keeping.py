"""The two processes of a goal that is to run on a node: its keeper there, and beside Init the guard of that.

Theory of operation. The *keeper* calls `start`, so it is the parent of what that starts, and ends when that ends. While it is within
`start` it can be told nothing, so it does not trap exits until it is through: an exit signal ends it, and what it has started with it.
The *guard* is never within code of the goal. It watches the clock, stops the keeper, and waits until that and all that was linked to it
is gone; then it ends, and Init knows. Init is linked to its guards, and a guard to its keeper: so Init's end ends all. Who comes when Init
was killed, such as the next one that its supervisor starts, finds the guards at that: each goal waits for its former guard. A keeper that
has lost its guard, with the node of Init, ends what it has started itself, and the next keeper there waits for it.

What they tell each other is no access of the goal's: it is not checked, so a goal that may send nothing comes up as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from beamlike import (
    IGNORE,
    CallError,
    Down,
    Exit,
    Pid,
    Ref,
    Stop,
    blocking,
    monitor,
    process_flag,
    process_info_at,
    receive,
    self_pid,
    spawn_link,
)
from beamlike.seam import Under, current_process, describe, exit_own, format_reason, is_quiet, log, note_tightened, now, tell, tightened
from boot.first_boot import note_done
from boot.goals import Goal
from caps import CapabilityError, Layers
from nodes import SpawnError, spawn_link_at

logger = logging.getLogger("beamlike.init")

LONGEST = 200  # characters of a reason
LOST = ("shutdown", ("lost",))  # a guard's reason
DONE = ("shutdown", ("done",))  # a keeper's; not `normal`, which would leave alone what the step is linked to


_guards: dict[Pid, tuple[Pid, str, str]] = {}  # of this node: their Inits, goals, and nodes


_alone: dict[Pid, str] = {}  # keepers of this node that have lost their guards, and their goals


class Failed(Stop):
    """Ends a guard whose goal has failed, quietly: who crashed is reported already. Init finds `text` in the reason."""

    def __init__(self, text: str) -> None:
        super().__init__(("shutdown", ("failed", text)))


def in_a_line(reason: Any) -> str:
    """An exit reason for people."""
    text = " ".join(format_reason(reason).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# --- the guard ---


async def guard(init: Pid, tag: Ref, goal: Goal, node: str, layers: Layers, store: str | None) -> None:
    """The process. What the keeper starts gets these layers besides. A step that is done is noted in `store`, if there is one.

    Init gets `("up", tag, pid)`, with None for the pid of a step that is done, and `("down", tag)` when the goal ends by itself: then what
    was linked to it is not gone yet. Then, or before, the guard ends:

    with `normal`: the step is done; `shutdown`: the goal was stopped; `(shutdown, (failed, text))`; LOST: with its node.
    """
    process_flag("trap_exit", True)
    process_flag("label", f"guard of {goal.name}")
    await _until_former_are_gone(init, goal.name, node)
    try:
        keeper = await _spawn_keeper(init, tag, goal, node, layers)
    except SpawnError as error:
        raise Stop(LOST) if error.reason == "noconnection" else Failed(in_a_line(str(error))) from None
    except (CapabilityError, TypeError, ValueError, RuntimeError) as error:
        raise Failed(in_a_line(f"{type(error).__name__}: {error}")) from None
    try:
        message = await receive(lambda message: type(message) is Exit or _is("up", message, tag), goal.start_timeout)
    except TimeoutError:
        tell(init, ("down", tag))
        await _end(keeper, (), goal.stop_timeout)
        raise Failed(f"it was not up in {goal.start_timeout:g} s") from None
    pid = None
    if type(message) is not Exit:
        pid = message[2]
        if store is not None:
            await _note(goal.name, store)
        tell(init, message)
        message = await receive(lambda message: type(message) is Exit)
    left = await _told_links(tag)
    if left is None:
        left = () if pid is None else (pid,)
    if message.sender != keeper:
        await _end(keeper, left, goal.stop_timeout)
        raise Stop("shutdown")
    if left:
        if message.reason != DONE:
            tell(init, ("down", tag))
        await _until_gone(left, goal.stop_timeout)
    match message.reason:
        case reason if reason == DONE:
            return
        case ("shutdown", ("ended", reason)):
            raise Failed(f"it ended: {in_a_line(reason)}")
        case "noconnection" if keeper.node != self_pid().node:
            raise Stop(LOST)
        case reason:
            raise Failed(in_a_line(reason))


async def _until_former_are_gone(init: Pid, goal: str, node: str) -> None:
    """Wait for the guards of this goal there whose Init has ended."""
    for pid in [pid for pid in _guards if pid.process is None]:
        del _guards[pid]
    former = [pid for pid, (its_init, *what) in _guards.items() if what == [goal, node] and its_init.process is None]
    _guards[self_pid()] = (init, goal, node)
    left = {monitor(pid) for pid in former}
    while left:
        match await receive(lambda message: type(message) is Exit or (type(message) is Down and message.ref in left)):
            case Down(ref):
                left.discard(ref)
            case Exit():
                raise Stop("shutdown")


async def _note(name: str, store: str) -> None:
    try:
        await blocking(note_done, Path(store), name)
    except OSError as error:  # CapabilityError is one
        log(logger, logging.ERROR, "goal %s is done, but that cannot be noted, so it will be done again at the next boot: %s", name, error)


def _is(kind: str, message: Any, tag: Ref) -> bool:
    return type(message) is tuple and len(message) == 3 and message[:2] == (kind, tag)


async def _told_links(tag: Ref) -> tuple[Pid, ...] | None:
    """To whom the keeper was linked at its end; None while it lives, or if it was killed."""
    try:
        return (await receive(lambda message: _is("linked", message, tag), timeout=0))[2]  # type: ignore[no-any-return]
    except TimeoutError:
        return None


async def _spawn_keeper(init: Pid, tag: Ref, goal: Goal, node: str, layers: Layers) -> Pid:
    me = self_pid()
    if node == me.node:
        return spawn_link(keep, init, me, tag, goal, layers, exclude=goal.exclude)
    return await spawn_link_at(node, keep, init, me, tag, goal, layers, exclude=goal.exclude)


async def _end(keeper: Pid, pids: Iterable[Pid], grace: float) -> None:
    """End it, these, and all that is linked to it, which gets the exit signal by its link, when the keeper has ended."""
    left = dict.fromkeys([keeper, *pids, *await _links(keeper)])
    left.pop(self_pid(), None)
    exit_own(current_process(), keeper, "shutdown")
    await _until_gone(left, grace)


async def _links(keeper: Pid) -> Iterable[Pid]:
    """To whom it is linked; nobody if it has ended, or that cannot be known."""
    if keeper.node == self_pid().node:
        return () if keeper.process is None else describe(keeper.process).links
    try:
        info = await process_info_at(keeper)
    except (CallError, CapabilityError):  # its node was lost; or Init may not ask
        return ()
    return () if info is None else info.links


async def _until_gone(pids: Iterable[Pid], grace: float) -> None:
    """Wait for their ends; kill those that are left after so many seconds."""
    left = {monitor(pid): pid for pid in pids}
    end = now() + grace
    is_over = False
    while left:
        try:
            timeout = None if is_over else max(0.0, end - now())
            down = await receive(lambda message: type(message) is Down and message.ref in left, timeout)
        except TimeoutError:
            is_over = True
            for pid in left.values():
                exit_own(current_process(), pid, "kill")
        else:
            del left[down.ref]


# --- the keeper ---


async def keep(init: Pid, guard: Pid, tag: Ref, goal: Goal, layers: Layers) -> None:
    """The process: it tells the guard `("up", tag, pid)`, and ends quietly when what it has started ends, whose reason is in its own.

    At its end it tells that `("linked", tag, pids)`, what ends with it and may take its time, and before that Init, if there is something,
    `("tightened", tag, layers)`, what the process that it has started was forbidden since.
    """
    process_flag("label", f"keeper of {goal.name}")
    me = current_process()
    try:
        await _keep(init, guard, tag, goal, layers)
    except Exception:  # Stop is one
        tell(guard, ("linked", tag, tuple(pid for pid in describe(me).links if pid != guard)))
        raise


async def _keep(init: Pid, guard: Pid, tag: Ref, goal: Goal, layers: Layers) -> None:
    me = current_process()
    note_tightened(me)
    await _until_gone([pid for pid, name in _alone.items() if name == goal.name and pid.process is not None], goal.stop_timeout)
    with Under(me, (), layers):
        found = await goal.start(*goal.args)
    if found is None or found is IGNORE:
        tell(guard, ("up", tag, None))
        raise Stop(DONE)
    if not isinstance(found, Pid):
        raise TypeError(f"the start of goal {goal.name!r} returned {found!r:.100}, expected the Pid of what it has started, or None")
    if goal.only_first_boot:
        raise TypeError(f"goal {goal.name!r} is only_first_boot, a step that is done once, but its start returned a Pid")
    process_flag("trap_exit", True)
    if found not in describe(me).links and (found.process is not None or found.node != self_pid().node):
        raise TypeError(f"the start of goal {goal.name!r} returned {found}, to which it is not linked: start it by start_link")
    ref = monitor(found)  # one that has ended already is told at once
    tell(guard, ("up", tag, found))
    try:
        await _until_it_ends(guard, found, ref, goal)
    finally:
        if more := tightened(me, found):
            tell(init, ("tightened", tag, more))


async def _until_it_ends(guard: Pid, found: Pid, ref: Ref, goal: Goal) -> NoReturn:
    while True:
        match await receive():
            case Down(down_ref, _, reason) if down_ref == ref:
                raise Stop(("shutdown", ("ended", reason)))
            case Exit(sender, reason) if sender == guard:
                if reason != "shutdown":  # it is lost with its node, or was killed
                    await _end_alone(goal)
                raise Stop("shutdown")
            case Exit(sender, reason) if sender != found and not is_quiet(reason):
                raise Stop(("shutdown", ("ended", reason)))


async def _end_alone(goal: Goal) -> None:
    """What the guard would do: end all that this is linked to. The next keeper of this goal waits for that."""
    me = current_process()
    for pid in [pid for pid in _alone if pid.process is None]:
        del _alone[pid]
    _alone[me.pid] = goal.name
    linked = describe(me).links
    for pid in linked:
        exit_own(me, pid, "shutdown")
    await _until_gone(linked, goal.stop_timeout)
