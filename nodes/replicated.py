"""A table that all fellows have: the leader changes it, and it outlives any of them.

Theory of operation. Each change has the next number, and all obey one leader at a time, so what a fellow has is what the others had at some
number. A new leader takes the copy with the highest number; the others take over its. A change is lost only with all nodes that got it.
"""

from __future__ import annotations

from typing import Any

from beamlike import Continue, Pid, record, self_pid, send
from nodes.leading import Led


@record
class Changed:
    """From the leader: the number of this change, its key, and the new value; None: there is none any more."""

    leader: Pid
    number: int
    key: Any
    value: Any


@record
class Whole:
    """From the leader: all of it."""

    leader: Pid
    number: int
    table: tuple[tuple[Any, Any], ...]


class Replicated(Led):
    """A fellow with a copy of the table. Values are plain values and not None."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.follows: Pid | None = None  # the leader whose whole table has come: from then on its changes count
        self.table: dict[Any, Any] = {}

    def table_changed(self, key: Any, before: Any, value: Any) -> None:
        """Hook, on every node: a value is another now."""

    def take_up(self) -> None:
        """Hook, of a new leader: all fellows have the table. Do what nobody did meanwhile."""

    def change(self, key: Any, value: Any) -> int:
        """Of the leader: change the table, everywhere. Returns the change's number."""
        self.number += 1
        self.tell_all(Changed(self_pid(), self.number, key, value))
        self._set(key, value)
        return self.number

    def _set(self, key: Any, value: Any) -> None:
        before = self.table.pop(key, None)
        if value is not None:
            self.table[key] = value
        self.table_changed(key, before, value)

    def _take_over(self, number: int, table: tuple[tuple[Any, Any], ...]) -> None:
        self.number = number
        new = dict(table)
        for key in [key for key in self.table if key not in new]:
            self._set(key, None)
        for key, value in table:
            if self.table.get(key) != value:
                self._set(key, value)

    def report(self) -> Any:
        """What this node has."""
        self.follows = None
        return self.number, tuple(self.table.items())

    def begin_to_lead(self, reports: dict[Pid, Any]) -> None:
        """Take the best copy, and give it to all."""
        self._take_over(*max([self.report(), *reports.values()], key=lambda report: report[0]))
        self.tell_all(Whole(self_pid(), *self.report()))
        self.take_up()

    def fellow_reported(self, pid: Pid, report: Any) -> None:
        """It has been away, or is new."""
        send(pid, Whole(self_pid(), *self.report()))

    async def handle_rest(self, message: Any) -> Continue | None:
        """What the leader says."""
        match message:
            case Changed(leader, number, key, value):
                if leader == self.follows:
                    self.number = number
                    self._set(key, value)
            case Whole(leader, number, table):
                if leader == self.obeys:
                    self.follows = leader
                    self._take_over(number, table)
            case _:
                return await super().handle_rest(message)
        return None
