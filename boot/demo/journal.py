"""What a run of the demonstration must not forget: which writes were acknowledged, who was killed, when it is to end.

Theory of operation. It is memory of the owner, the one OS process that is not killed, which nodes map by way of its descriptors: nothing
has a name that could be left behind. Each *slot* belongs to one client process at a time, and to its successor when its node is back. A
client counts `tried` up before it writes, and marks the number when it has the answer, each by one store: so wherever it is killed, what
is marked was acknowledged, and of all numbers tried and not marked nobody knows. (`struct.pack_into` is two stores: it writes zeros
first.) Events are lines of JSON in a second file, appended by one `write` each.
"""

from __future__ import annotations

import json
import mmap
import os
from time import monotonic
from typing import Any, Final

_BEGIN, _END, _NEXT, _DRAWN = 0, 1, 2, 3  # words of the header: seconds of the machine's monotonic clock; how many kills were drawn
_HEADER: Final = mmap.PAGESIZE
_WORD: Final = 8  # bytes
_TRIED, _DONE, _JOBS = 0, 1, 2  # words of a slot
_MARKS: Final = 3 * _WORD  # offset in a slot
MOST_PER_SECOND: Final = 5000  # writes of one client: far more than there are; memory that is not written is none


_opened: dict[tuple[Any, ...], Journal] = {}


class Slot:
    """Of one client: its writes are numbered from 1."""

    def __init__(self, memory: mmap.mmap, words: memoryview, offset: int, length: int) -> None:
        self._memory = memory
        self._words = words
        self._offset = offset
        self.most = length - _MARKS - 1

    @property
    def tried(self) -> int:
        """The number of the last write that was begun."""
        return self._get(_TRIED)

    @property
    def done(self) -> int:
        """How many were acknowledged."""
        return self._get(_DONE)

    @property
    def jobs(self) -> int:
        """How many answers the pool has given."""
        return self._get(_JOBS)

    def begin(self, number: int) -> None:
        """A write is about to be sent."""
        self._put(_TRIED, number)

    def acknowledge(self, number: int) -> None:
        """Its answer has come."""
        self._memory[self._offset + _MARKS + number] = 1
        self._put(_DONE, self._get(_DONE) + 1)

    def count_job(self) -> None:
        """The pool has answered."""
        self._put(_JOBS, self._get(_JOBS) + 1)

    def is_acknowledged(self, number: int) -> bool:
        return bool(self._memory[self._offset + _MARKS + number])

    def marks(self) -> bytes:
        """Of each write that was begun, from the first: was it acknowledged?"""
        first = self._offset + _MARKS + 1
        return self._memory[first : first + self.tried]

    @property
    def is_in_flight(self) -> bool:
        """Has a write been begun that is not answered? Also if the client is dead."""
        tried = self.tried
        return tried > 0 and not self.is_acknowledged(tried)

    def _get(self, word: int) -> int:
        return int(self._words[self._offset // _WORD + word])

    def _put(self, word: int, value: int) -> None:
        self._words[self._offset // _WORD + word] = value


class Journal:
    """See the module. `Journal.create` in the owner, `Journal.open` in nodes."""

    def __init__(self, memory: int, events: int, slots: int, seconds: float) -> None:
        self._memory_fd, self._events = memory, events
        self._length = _HEADER + slots * _size(seconds)
        self.seconds = seconds
        self._memory = mmap.mmap(memory, self._length)
        self._words, self._times = memoryview(self._memory).cast("Q"), memoryview(self._memory).cast("d")
        self.slots = [Slot(self._memory, self._words, _HEADER + number * _size(seconds), _size(seconds)) for number in range(slots)]
        self._read = 0  # bytes of the events

    @classmethod
    def create(cls, slots: int, seconds: float) -> Journal:
        """A new one, for a run of so many seconds."""
        memory = os.memfd_create("demo-journal", os.MFD_CLOEXEC)
        os.ftruncate(memory, _HEADER + slots * _size(seconds))
        return cls(memory, os.memfd_create("demo-events", os.MFD_CLOEXEC), slots, seconds)

    @classmethod
    def open(cls, address: tuple[Any, ...]) -> Journal:
        """That of the owner, by its `address`; one for all of this OS process."""
        if address in _opened:
            return _opened[address]
        owner, memory, events, slots, seconds = address
        mapped = os.open(f"/proc/{owner}/fd/{memory}", os.O_RDWR | os.O_CLOEXEC)
        journal = cls(mapped, os.open(f"/proc/{owner}/fd/{events}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), slots, seconds)
        os.close(mapped)
        _opened[address] = journal
        return journal

    @property
    def address(self) -> tuple[Any, ...]:
        """Plain values, for `open`."""
        return os.getpid(), self._memory_fd, self._events, len(self.slots), self.seconds

    def close(self) -> None:
        """The owner's, which is gone with that."""
        self._words.release()
        self._times.release()
        self._memory.close()
        os.close(self._memory_fd)
        os.close(self._events)

    # --- the plan ---

    @property
    def begun(self) -> float:
        """When the clients and the kills began; 0.0: they have not."""
        return self._times[_BEGIN]

    @property
    def end(self) -> float:
        """When they are to stop."""
        return self._times[_END]

    @property
    def next_kill(self) -> float:
        return self._times[_NEXT]

    def begin(self, every: float) -> None:
        """Now."""
        now = monotonic()
        self._times[_END], self._times[_NEXT] = now + self.seconds, now + every
        self._times[_BEGIN] = now  # the last: by it all know

    def stop(self) -> None:
        """At once, in place of the end that was planned."""
        self._times[_END] = monotonic()

    @property
    def is_over(self) -> bool:
        return self.begun > 0 and monotonic() >= self.end

    @property
    def drawn(self) -> int:
        """How many kills were drawn."""
        return int(self._words[_DRAWN])

    def draw(self, every: float) -> None:
        """One more is about to be done; the next is due `every` seconds after this one was, or now if it is late."""
        self._times[_NEXT] = max(self.next_kill + every, monotonic())
        self._words[_DRAWN] = self.drawn + 1

    # --- events ---

    def tell(self, kind: str, **details: Any) -> None:
        """Append an event."""
        os.write(self._events, json.dumps({"kind": kind, "at": monotonic(), **details}).encode() + b"\n")

    def news(self) -> list[dict[str, Any]]:
        """The events since the last call, in order. The owner's."""
        found = bytearray()
        while data := os.pread(self._events, 1 << 16, self._read + len(found)):
            found += data
        whole = found[: found.rfind(b"\n") + 1]  # a line may be on its way
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def _size(seconds: float) -> int:
    """Of a slot, in bytes."""
    length = _MARKS + int(MOST_PER_SECOND * (seconds + 1))
    return -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
