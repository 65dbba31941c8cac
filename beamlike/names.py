"""Local names: at most one process a name, at most one name a process, free the moment its holder dies (E19)."""

from __future__ import annotations

from typing import Any

import caps
from beamlike.hot import scheduler
from beamlike.hot.guards import acts_as_service, known_as, refuse_service, require, services
from beamlike.hot.ids import Pid
from beamlike.hot.process import Process


class BadNameError(LookupError):
    """No process has that name (M2), or the name cannot be given."""


_holders: dict[str, Process] = {}


def clear() -> None:
    """A node opens or closes."""
    _holders.clear()


def check_name(name: Any) -> str:
    """TypeError or ValueError unless it can be a name."""
    if type(name) is not str:  # of a subclass it could be another to a dict than to people: an enum's hash is its own
        subclass = f", of {type(name).__qualname__}: a subclass of str will not do" if isinstance(name, str) else ""
        raise TypeError(f"a name is a non-empty str, not {name!r}{subclass}")
    if not name:
        raise ValueError("a name is a non-empty str, not ''")
    return name


def check_free(name: Any) -> str:
    """The name, if it can be given now. BadNameError names who has it."""
    holder = _holders.get(check_name(name))
    if holder is not None:
        raise BadNameError(f"the name {name!r} is taken by {holder.pid}: unregister it there, or choose another")
    return name  # type: ignore[no-any-return]


def give(name: str, process: Process) -> None:
    """Give a free name to a live process of this node."""
    if process.name is not None:
        raise BadNameError(f"{process.pid} has the name {process.name!r} already: a process has one name")
    _holders[name] = process
    process.name = name


def release(process: Process) -> None:
    """Take the process's name away, if it has one."""
    if process.name is not None:
        del _holders[process.name]
        process.name = None


def holder(name: str) -> Process | None:
    """Who has it."""
    return _holders.get(name)


def register(name: str, pid: Pid | None = None) -> None:
    """Give a name to a process of this node (the caller). `send`, `call`, `monitor` … then take the name for the pid.

    Raises:
        BadNameError: it is taken, the process has one, or it is not alive on this node.
        CapabilityError: an exclusion refuses the caller this name.
        TypeError, ValueError: it is no name.
    """
    process = scheduler.caller("register") if pid is None else local(pid, "register")
    check_access(check_name(name))
    if process is None:
        raise BadNameError(f"{pid} is not alive on this node: local names are for its own processes")
    check_holder(process)
    give(check_free(name), process)


def unregister(name: str) -> None:
    """Free a name. BadNameError if nobody has it; CapabilityError if an exclusion refuses the caller this name."""
    scheduler.check_thread("unregister")
    check_access(check_name(name))
    process = _holders.get(check_name(name))
    if process is None:
        raise BadNameError(f"nobody has the name {name!r}")
    check_holder(process)
    release(process)


def check_holder(process: Process) -> None:
    """CapabilityError unless the process that calls may do to this one all that exclusions may refuse by a name: for it gets another."""
    layers = scheduler.current_layers()
    if layers and process is not scheduler.current_or_none():
        for kind in ("send", "exit", "process_info"):
            require(layers, kind, known_as(process.pid))


def check_access(name: str) -> None:
    """CapabilityError unless the process that calls may give and free this name. For what has no process: no limits."""
    permit_name(scheduler.current_or_none(), scheduler.current_layers(), name)


def permit_name(process: Process | None, layers: caps.Layers, name: str) -> None:
    """CapabilityError unless the process, under these layers, may. Who has the name of a service would be taken for one."""
    if layers:
        require(layers, "register", (name,))
        if name in services and (process is None or not acts_as_service(process)):
            refuse_service("register", name)


def whereis(name: str) -> Pid | None:
    """Who has the name on this node."""
    process = _holders.get(check_name(name))
    return None if process is None else process.pid


def registered() -> list[str]:
    """All names given on this node, sorted."""
    return sorted(_holders)


def local(pid: Any, what: str) -> Process | None:
    """The record of a live process of this node. TypeError unless it is a Pid."""
    if type(pid) is not Pid:
        raise TypeError(f"{what} expects a Pid, not {pid!r}")
    return pid.process  # type: ignore[no-any-return]


def check_destination(destination: Any, what: str) -> None:
    """TypeError unless messages can be sent there: a Pid, a name, or `(name, node)`."""
    if type(destination) not in (Pid, str) and not is_of_a_node(destination):
        raise TypeError(f"{what}: a destination is a Pid, a registered name or (name, node), not {destination!r}")


def is_of_a_node(target: Any) -> bool:
    """Is it `(name, node)`?"""
    return type(target) is tuple and [*map(type, target)] == [str, str]
