"""Tables: what all processes of a node may look up without asking anybody, after Erlang's ETS.

Theory of operation. The rows are a dict that no process ever holds. A value is copied on its way in, as a message is; if it is
immutable throughout (`copy_value` gave it back as it was) it is handed out as it is, at the price of a look-up; otherwise it lies in a
`_Mutable` and every reader gets a copy. A table belongs to a process and goes with it, or to its heir. Nothing here awaits, and code
of this runtime is not pre-empted: each method is atomic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

from beamlike import names, privileged, signals
from beamlike.exits import format_reason
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.ids import Pid
from beamlike.hot.process import Process
from beamlike.hot.values import copy_value
from beamlike.records import record

Access = Literal["public", "protected", "private"]


class TableError(RuntimeError):
    """The table is gone, is not the caller's to use so, or there is none of that name (or one already)."""


@record
class TableTransfer:
    """The message to a process that owns a table from now on: its owner ended, or gave it away (ETS-TRANSFER).

    `data` is what the heir was named with, or what `give_away` was given; `sender` is the owner before.
    """

    table: str
    sender: Pid
    data: Any


class _Mutable:
    """A stored value of which every reader gets a copy."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_tables: dict[str, Table] = {}
_owned: dict[Pid, list[Table]] = {}
_MISSING: Any = object()


class Table:
    """A dict that the calling process owns and every process of the node may read, without a message.

    `t[key]`, `get`, `in`, `len`, iteration (over the keys as they are now) and `items` read; `t[key] = value`, `del`, `pop`,
    `insert_new` and `update_counter` write. Keys and values are what can be sent; a key is immutable, and 1 is the key 1.0, as in a
    dict. What one reader does to a value it got is seen by nobody else. Each of these is atomic; two of them are not.

    A table is of one node: it cannot be sent. Other processes find it by its name (`Table.find`), or are given it as an argument when
    they are spawned on the same node. Reading works in threads and outside of processes, too.

    When the owner ends, the heir owns the table and is told by a `TableTransfer`; without a living heir the table is gone, and whoever uses
    it after that gets a TableError that says so.

    Args:
        name: no other table of this node has it. Names of tables and of processes have nothing to do with each other.
        access: who but the owner may do what: `protected`: all read; `public`: all read and write; `private`: nobody anything.
        heir: a process of this node that the caller may send to. It stays the heir when the table changes hands.
        heir_data: what its `TableTransfer` brings.

    Raises: TypeError or ValueError that names the argument; TableError if the name is taken; CapabilityError if an exclusion forbids to
        send to the heir; RuntimeError outside a process.

    Unlike Erlang, every table is a named `set`, and `update_counter` starts a missing counter at 0.
    """

    __slots__ = ("_access", "_gone", "_heir", "_heir_data", "_name", "_owner", "_rows", "_shared")

    def __init__(self, name: str, *, access: Access = "protected", heir: Pid | None = None, heir_data: Any = None) -> None:
        owner = scheduler.caller("Table")
        if access not in get_args(Access):
            raise ValueError(f"Table {name!r}: access is 'public', 'protected' or 'private', not {access!r}")
        if heir is not None:
            _check_local(heir, "Table: heir")
            privileged.permit_target(owner, "send", heir)  # its `TableTransfer` is a message of the caller's, whenever it comes
        self._heir_data = copy_value(heir_data)
        if names.check_name(name) in _tables:
            raise TableError(f"the table name {name!r} is taken: {_tables[name]!r}; choose another, or Table.find({name!r})")
        self._name = name
        self._access = access
        self._heir = heir
        self._gone = ""  # why it is
        self._rows: dict[Any, Any] = {}
        self._shared = None if access == "private" else self._rows  # the rows, if anybody may read them
        _tables[name] = self
        self._belong_to(owner)

    @staticmethod
    def find(name: str) -> Table:
        """The table of that name on this node. TableError if there is none."""
        table = _tables.get(names.check_name(name))
        if table is None:
            raise TableError(f"this node has no table {name!r}")
        return table

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def owner(self) -> Pid:
        """Whose it is, or was at last."""
        return self._owner

    # --- reading ---

    def __getitem__(self, key: Any) -> Any:
        rows = self._shared
        if rows is None:
            rows = self._readable()
        value = rows[key]
        return copy_value(value.value) if type(value) is _Mutable else value

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or `default`."""
        value = self._readable().get(key, default)
        return copy_value(value.value) if type(value) is _Mutable else value

    def __contains__(self, key: Any) -> bool:
        return key in self._readable()

    def __len__(self) -> int:
        return len(self._readable())

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._readable()))

    def items(self) -> list[tuple[Any, Any]]:
        """All rows as they are now."""
        return [(key, copy_value(value.value) if type(value) is _Mutable else value) for key, value in list(self._readable().items())]

    # --- writing ---

    def __setitem__(self, key: Any, value: Any) -> None:
        self._writable()[_key(key)] = _stored(value)

    def __delitem__(self, key: Any) -> None:
        del self._writable()[key]

    def insert_new(self, key: Any, value: Any) -> bool:
        """Set it unless the key is there already. Returns: whether it was set."""
        rows = self._writable()
        stored = _stored(value)
        if _key(key) in rows:
            return False
        rows[key] = stored
        return True

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove a row and return its value. KeyError if there is none and no `default`."""
        rows = self._writable()
        value = rows.pop(key) if default is _MISSING else rows.pop(key, default)
        return value.value if type(value) is _Mutable else value

    def update_counter(self, key: Any, by: int = 1) -> int:
        """Add to the int under `key`, 0 if there is none, and return the sum. TypeError if `by`, or what is there, is no int."""
        rows = self._writable()
        old = rows.get(key, 0)
        for what, value in (("by", by), (f"the value of {key!r}", old)):
            if type(value) is not int:
                raise TypeError(f"update_counter: {what} is an int, not {value.value if type(value) is _Mutable else value!r}")
        total: int = old + by
        rows[_key(key)] = total
        return total

    # --- whose it is ---

    def give_away(self, pid: Pid, data: Any = None) -> None:
        """Make another process of this node the owner; `TableTransfer(name, caller, data)` tells it. Only the owner can.

        Raises: TableError if `pid` is not alive, or the caller not the owner; CapabilityError if the caller may not send to it; TypeError
            or ValueError for what is no pid of this node.
        """
        me = self._owned_by_caller("give_away")
        _check_local(pid, "Table.give_away")
        privileged.permit_target(me, "send", pid)
        data = copy_value(data)
        if pid.process is None:
            raise TableError(f"the table {self._name!r} cannot be given to {pid}, which is not alive")
        self._pass_to(pid.process, data)

    def delete(self) -> None:
        """Remove the table. Only the owner can."""
        self._owned_by_caller("delete")
        _owned[self._owner].remove(self)
        self._end(f"{self._owner} deleted it")

    def __repr__(self) -> str:
        if self._gone:
            return f"<Table {self._name!r}, gone: {self._gone}>"
        return f"<Table {self._name!r} of {self._owner}, {self._access}, {len(self._rows)} row(s)>"

    def _readable(self) -> dict[Any, Any]:
        if self._shared is None:
            self._owned_by_caller("read")
        return self._rows

    def _writable(self) -> dict[Any, Any]:
        if self._access == "public" and not self._gone:
            scheduler.caller("writing to a Table")
        else:
            self._owned_by_caller("write")
        return self._rows

    def _owned_by_caller(self, what: str) -> Process:
        """The calling process. TableError unless it is the owner."""
        if self._gone:
            raise TableError(f"the table {self._name!r} is gone: {self._gone}")
        me = scheduler.caller(f"Table: {what}")
        if me.pid != self._owner:
            raise TableError(f"{what}: the table {self._name!r} ({self._access}) belongs to {self._owner}, and {me.pid} may not do this")
        return me

    def _belong_to(self, owner: Process) -> None:
        extra(owner)  # so that its end is told to `on_release`
        self._owner = owner.pid
        _owned.setdefault(owner.pid, []).append(self)

    def _pass_to(self, owner: Process, data: Any) -> None:
        before = self._owner
        if before in _owned:  # not when it ended
            _owned[before].remove(self)
        self._belong_to(owner)
        scheduler.deliver(owner, TableTransfer(self._name, before, data))

    def _end(self, why: str) -> None:
        self._gone = why
        self._shared = None
        self._rows = {}
        del _tables[self._name]

    def _owner_ended(self, reason: Any) -> None:
        if self._heir is not None and self._heir.process is not None:
            self._pass_to(self._heir.process, signals.copied_again(self._heir_data))
        else:
            heir = "it had no heir" if self._heir in (None, self._owner) else f"its heir {self._heir} before it"
            self._end(f"its owner {self._owner} ended ({format_reason(reason)}), {heir}")


def _key(key: Any) -> Any:
    if copy_value(key) is not key:
        raise TypeError(f"the key of a table is immutable throughout, not {key!r}")
    return key


def _stored(value: Any) -> Any:
    copied = copy_value(value)
    return copied if copied is value else _Mutable(copied)


def _check_local(pid: Any, what: str) -> None:
    if names.local(pid, what) is None and pid.origin != scheduler.current_node():
        raise ValueError(f"{what}: {pid} is of another node, and a table belongs to one")


def _released(process: Process, reason: Any) -> None:
    for table in _owned.pop(process.pid, ()):
        table._owner_ended(reason)


signals.on_release.append(_released)


def clear() -> None:
    """A node opens or closes."""
    for table in list(_tables.values()):
        table._end("its node has stopped")
    _owned.clear()
