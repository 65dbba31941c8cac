"""Checks that are made for every message of a limited process: what its layers have permitted is kept, and looked up (C9).

Theory of operation. `caps.require` decides, and takes microseconds. A decision about a built-in kind depends on the layers and the access
alone, and both are values, so a permit is kept under both: in the `Guard` of these layers. Layers are compared by identity, and tightening
a process gives it other layers, so nothing that is kept is ever wrong. Refusals are not kept: `caps.require` finds the words each time.

Whom a pid leads to may go by a name, which an exclusion may name as well: a permit to send is kept with the name that counted then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import caps
from beamlike.hot.ids import Pid
from beamlike.hot.process import Process

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython

MOST_GUARDS = 128  # stacks of layers whose permits are kept
MOST_PERMITS = 1024  # of each that are kept, and as many targets

_most_guards, _most_permits, _Pid, _Str, _Int, _None = MOST_GUARDS, MOST_PERMITS, Pid, str, int, type(None)  # as C globals


@cython.final
@cython.cclass
class Guard:
    """What one stack of layers has permitted."""

    __slots__ = ("accesses", "targets")

    def __init__(self) -> None:
        self.accesses: set[Any] = set()  # (kind, operands)
        self.targets: dict[Pid, Any] = {}  # of messages: with the name that it had


_guards: dict[Any, Guard] = {}
_last_layers: Any = None  # that were looked up last,
_last_guard: Guard = None  # type: ignore[assignment]  # and their guard


def guard_of(layers: tuple[Any, ...]) -> Guard:
    """The guard of these layers."""
    global _last_layers, _last_guard
    if layers is _last_layers:
        return _last_guard
    guard = _guards.get(layers)
    if guard is None:
        if len(_guards) >= _most_guards:
            _guards.clear()
        guard = _guards[layers] = Guard()
    _last_layers, _last_guard = layers, guard
    return guard


def require(layers: tuple[Any, ...], kind: Any, what: tuple[Any, ...]) -> None:
    """`caps.require`, but what was permitted before is looked up."""
    is_plain = type(kind) is _Str and is_exact(what)
    guard = guard_of(layers)
    if is_plain and (kind, what) in guard.accesses:
        return
    caps.require(layers, kind, *what)
    if is_plain and caps.is_lasting(kind, what):
        if len(guard.accesses) >= _most_permits:
            guard.accesses.clear()
        guard.accesses.add((kind, what))


def is_exact(what: tuple[Any, ...]) -> bool:
    """Is each operand just what it equals? Not so a bool, which equals an int, nor what is of a class of its own."""
    for value in what:
        kind = type(value)
        if kind is _Str or kind is _Int or kind is _Pid or kind is _None:
            continue
        if kind is not tuple or not is_exact(value):
            return False
    return True


services: set[Any] = set()  # names that the runtime's own processes have, on each node


def is_service(process: Process) -> bool:
    """Is it one of the runtime's own, whose requests its faces check? A process with exclusions has no other way to it."""
    return process.name in services or (process.extra is not None and process.extra.is_service)


def acts_as_service(process: Process) -> bool:
    """Does it ask as a service? Not while it acts on behalf of others, under their exclusions."""
    return is_service(process) and (process.extra is None or not process.extra.under)


def refuse_service(kind: str, what: Any) -> None:
    """Raise CapabilityError: a process with exclusions sends to a service, or wants its name."""
    text = (
        f"({kind!r}, {what!r}) is refused: this is one of the runtime's own, which a process with exclusions reaches by its functions only"
    )
    raise caps.CapabilityError(kind, (what,), (kind, what), text)


def require_target(layers: tuple[Any, ...], pid: Pid, sender: Process) -> None:
    """Raise CapabilityError unless messages may be sent to this pid, by it, by its node and, if it is known here, by its name; and if it
    is a service, and the sender, whose layers these are, is none."""
    targets = guard_of(layers).targets
    name = name_of(pid)
    known = targets.get(pid, _None)
    if known is name or known == name:
        return
    caps.require(layers, "send", *known_as(pid))
    if pid.process is not None and is_service(pid.process):
        if not acts_as_service(sender):
            refuse_service("send", pid)
        return  # it may send there, and others with the same layers not
    if len(targets) >= _most_permits:
        targets.clear()
    targets[pid] = name


def name_of(pid: Pid) -> Any:
    """The name that a process of this node has; None if it has none, or is not here."""
    if pid.process is None:
        return None
    process: Process = pid.process
    return process.name


def known_as(pid: Pid) -> tuple[Any, ...]:
    """All that exclusions may call a process."""
    name, node = name_of(pid), pid.origin.name
    return (pid, node) if name is None else (pid, name, (name, node), node)
