"""Faults of OS processes: those of the nodes, and the forge."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from beamlike.seam import check_access
from nodes.chaos_lasting import Lasting
from nodes.here import joined
from nodes.placement import list_nodes

TURN = 0.02  # seconds in which a node that is slowed down has its share: a few slices of the scheduler


def kill(name: str) -> None:
    """SIGKILL a node, perhaps this one: at once, where `kill_node` asks the owner. It is started again. Raises: as `stop`."""
    _signal("kill", name, signal.SIGKILL)


def stop(name: str) -> None:
    """Stop a node, by SIGSTOP: it lives and does nothing. When that has lasted as long as `hang_timeout` it is killed as hung.

    A node that stops itself needs another one to let it go on.

    Raises: TypeError if it is no name; ValueError if there is no such node now; RuntimeError if this node is alone.
    """
    _signal("stop", name, signal.SIGSTOP)


def go_on(name: str) -> None:
    """Let a stopped node go on, by SIGCONT. One that is not stopped does not notice. Raises: as `stop`."""
    _signal("go_on", name, signal.SIGCONT)


def slowing_down(name: str, share: float) -> Lasting:
    """While an `async with` block lasts, a node has only this share of its time: in turns of 20 ms it is stopped and goes on.

    Another node does that: this one, unless it is the victim. If it is lost meanwhile the victim may stay stopped, and is killed as hung.

    Args:
        share: more than 0, less than 1.

    Raises: TypeError, ValueError; ValueError also if there is no such node now, or no other.
    """
    check_name("slowing_down", name)
    check_number("slowing_down", "share", share)
    if not 0 < share < 1:
        raise ValueError(f"slowing_down: share is more than 0 and less than 1, not {share}")
    return Lasting(_watcher_of("slowing_down", name), Slow, name, share)


def stopping(name: str, seconds: float) -> Lasting:
    """`stop` and, after these seconds or at the end of the `async with` block, `go_on`, by another node: so it may be this one.

    Raises: TypeError, ValueError, as `slowing_down`; `seconds` is more than 0.
    """
    check_name("stopping", name)
    check_number("stopping", "seconds", seconds)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"stopping: seconds is more than 0 and finite, not {seconds}")
    return Lasting(_watcher_of("stopping", name), Stopped, name, seconds)


class Stopped:
    """See `chaos_lasting.Doing`."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.count = 0  # how often it was stopped

    def begin(self) -> None:
        """By the first turn."""

    def turn(self) -> float | None:
        if self.count:
            self.end()
            return None
        self.stop()
        return self.seconds

    def stop(self) -> None:
        """It stops, if it is up."""
        self.count += 1
        self._tell(signal.SIGSTOP)

    def end(self) -> None:
        self._tell(signal.SIGCONT)

    def _tell(self, signum: signal.Signals) -> None:
        member = joined().membership.members.get(self.name)
        if member is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(member.pidfd, signum)


class Slow(Stopped):
    """Again and again. A node that was lost is slow again when it is back."""

    def __init__(self, name: str, share: float) -> None:
        super().__init__(name, (1 - share) * TURN)
        self.seconds_between = share * TURN
        self.runs = True

    def turn(self) -> float:
        self.runs = not self.runs
        if self.runs:
            self.end()
            return self.seconds_between
        self.stop()
        return self.seconds


def kill_forge() -> None:
    """SIGKILL the forge, which starts nodes; the owner starts another. ValueError if there is none now: one is being started."""
    check_access("system", "kill_forge")
    owner = joined().member.owner_pid
    for pid in _children_of(owner):
        with suppress(OSError):  # it has ended
            pidfd = os.pidfd_open(pid)
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    is_forge = os.getsid(pid) == pid and b"nodes.forge" in file.read()
                if is_forge:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    return
            finally:
                os.close(pidfd)
    raise ValueError("kill_forge: there is no forge now; the owner starts one")


def _children_of(pid: int) -> list[int]:
    """Those of all its threads: the owner may run in any."""
    children: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:  # it has ended
            children.extend(map(int, file.read().split()))
    return children


def conductor() -> str:
    """The name of the node that is the conductor: the eldest, as this node knows it."""
    return joined().membership.conductor().name


def check_name(what: str, name: Any) -> None:
    """TypeError or ValueError unless this is the name of a node of this system, up or not; CapabilityError unless the caller
    may do something to it."""
    roster = joined().membership.roster
    if type(name) is not str:
        raise TypeError(f"{what}: the name of a node is a str, not {name!r}")
    check_access("node", name)
    if name not in roster:
        raise ValueError(f"{what}: there is no node {name!r} in this system; its nodes are {', '.join(roster)}")


def check_number(what: str, word: str, value: Any) -> None:
    """TypeError unless it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what}: {word} is a number, not {value!r}")


def _check_up(what: str, name: str) -> None:
    if name not in list_nodes():
        raise ValueError(f"{what}: {name} is not up; up are {', '.join(list_nodes())}")


def _watcher_of(what: str, name: str) -> str:
    """The node that is to stop this one: this, or another one if it is this."""
    _check_up(what, name)
    me = joined().node.id.name
    by = me if name != me else next((other for other in list_nodes() if other != name), None)
    if by is None:
        raise ValueError(f"{what}: {name} cannot let itself go on, and there is no other node now")
    return by


def _signal(what: str, name: str, signum: signal.Signals) -> None:
    check_name(what, name)
    _check_up(what, name)
    if name == joined().node.id.name:
        os.kill(os.getpid(), signum)
    else:
        with suppress(ProcessLookupError):  # it has ended, which this node hears in a moment
            signal.pidfd_send_signal(joined().membership.members[name].pidfd, signum)
