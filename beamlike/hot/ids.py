"""Names of things that live on nodes: `Pid` for a process, `Ref` for an event to come.

A node's name is `name@machine`; its *incarnation* tells two lives of the same name apart, so that the pid of a node
that was restarted never reaches its successor (rule M6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamlike.hot import nocython as cython
else:
    try:
        import cython
    except ImportError:
        from beamlike.hot import nocython as cython


@cython.final
@cython.no_gc
@cython.cclass
class NodeId:
    """One life of a node: its name (`name@machine`) and its incarnation. One object a life is shared by all its ids."""

    # `peer` is what the router knows of that life while it is another's and reachable, else None.
    __slots__ = ("incarnation", "name", "peer")

    def __init__(self, name: str, incarnation: int) -> None:
        self.name = name
        self.incarnation = incarnation
        self.peer: Any = None

    def __eq__(self, other: object) -> bool:
        return type(other) is NodeId and self.name == other.name and self.incarnation == other.incarnation

    def __hash__(self) -> int:
        return hash((self.name, self.incarnation))

    def __repr__(self) -> str:
        return f"{self.name}/{self.incarnation}"


@cython.final
@cython.no_gc
@cython.freelist(1024)
@cython.cclass
class Pid:
    """The address of one process, on any node. Equal to every other copy of itself, hashable, safe to send and to keep.

    Attributes:
        origin: the life of the node that the process belongs to.
        serial: its number there, never used twice.
    """

    # `process` is the record while the process lives on *this* node, else None: what makes a send one pointer away.
    __slots__ = ("origin", "process", "serial")

    def __init__(self, origin: NodeId, serial: int) -> None:
        self.origin = origin
        self.serial = serial
        self.process: Any = None

    @property
    def node(self) -> str:
        """The name of the node, `name@machine`."""
        return self.origin.name

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(other) is Pid and self.serial == other.serial and self.origin == other.origin

    def __hash__(self) -> int:
        return self.serial

    def __repr__(self) -> str:
        return f"<{self.origin.name}.{self.origin.incarnation}.{self.serial}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Pid is sent in a message, it is not pickled")


def make_pid(origin: NodeId, serial: Any) -> Pid:
    """A Pid, without the detour through `__init__`."""
    pid: Pid = Pid.__new__(Pid)
    pid.origin = origin
    pid.serial = serial
    pid.process = None
    return pid


@cython.final
@cython.no_gc
@cython.freelist(64)
@cython.cclass
class Ref:
    """A name that no other event has: of a monitor, a call, a timer. Equal to every copy of itself, hashable."""

    __slots__ = ("origin", "serial")

    def __init__(self, origin: NodeId, serial: int) -> None:
        self.origin = origin
        self.serial = serial

    @property
    def node(self) -> str:
        """The name of the node that made it."""
        return self.origin.name

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(other) is Ref and self.serial == other.serial and self.origin == other.origin

    def __hash__(self) -> int:
        return self.serial

    def __repr__(self) -> str:
        return f"#Ref<{self.origin.name}.{self.origin.incarnation}.{self.serial}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Ref is sent in a message, it is not pickled")


def make_ref_of(origin: NodeId, serial: Any) -> Ref:
    """A Ref, without the detour through `__init__`."""
    ref: Ref = Ref.__new__(Ref)
    ref.origin = origin
    ref.serial = serial
    return ref
