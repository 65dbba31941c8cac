"""An I/O space with nothing in it but what one device takes up: what the driver of a device that is handed out works with.

Who may use such a driver is decided by the grant that he has, so here it does not count who makes an access, but what it is to. So a
driver cannot reach what is not its device's, whoever asks it.
"""

from __future__ import annotations

import caps
from drivers.space import IoSpace, Stopped
from drivers.views import View, view_of


def narrowed(io: IoSpace, ports: tuple[tuple[int, int], ...], memory: tuple[tuple[int, int], ...] = ()) -> Narrowed:
    """Such a space, for who may have all of it itself. Raises: CapabilityError: an exclusion refuses the caller some of it."""
    for kind, ranges in (("port_io", ports), ("raw_memory", memory)):
        for start, end in ranges:
            caps.check(kind, start, end - start)
    return Narrowed(io, ports, memory)


class Narrowed(IoSpace):
    """See the module. CapabilityError names what the device has.

    Args:
        ports, memory: half-open ranges.
    """

    def __init__(self, io: IoSpace, ports: tuple[tuple[int, int], ...], memory: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.name = io.name
        self.lines = io.lines
        self._io = io
        for each in (*ports, *memory):
            if type(each) is not tuple or len(each) != 2:
                raise ValueError(f"{each!r} is no range: expected a tuple (start, end), half-open")
        terms: list[caps.Term] = []
        for kind, ranges in (("port_io", ports), ("raw_memory", memory)):
            terms.append(("only", *((kind, start, end) for start, end in ranges)) if ranges else (kind, "all"))
        self._fixed = view_of((caps.layer(terms),))

    def _view_now(self) -> View:
        return self._fixed

    def _in(self, port: int, width: int) -> int:
        return self._io._in(port, width)

    def _out(self, port: int, width: int, value: int) -> None:
        self._io._out(port, width, value)

    def _in_block(self, port: int, width: int, count: int) -> bytes:
        return self._io._in_block(port, width, count)

    def _out_block(self, port: int, width: int, data: bytes) -> None:
        self._io._out_block(port, width, data)

    def _read(self, address: int, width: int) -> int:
        return self._io._read(address, width)

    def _write(self, address: int, width: int, value: int) -> None:
        self._io._write(address, width, value)

    def _load(self, address: int, size: int) -> bytes:
        return self._io._load(address, size)

    def _store(self, address: int, data: bytes) -> None:
        self._io._store(address, data)

    def now(self) -> float:
        """As of the whole."""
        return self._io.now()

    async def pause(self, seconds: float) -> None:
        """As of the whole."""
        await self._io.pause(seconds)

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """As of the whole."""
        return self._io.cpuid(leaf, subleaf)

    def rdtsc(self) -> int:
        """As of the whole."""
        return self._io.rdtsc()

    @property
    def stopped(self) -> tuple[Stopped, int] | None:
        """As of the whole."""
        return self._io.stopped
