"""The host's side of the port bus's UART: what is at the other end of the wire."""

from __future__ import annotations

from typing import Final

from drivers._portbus import ffi, lib
from drivers.portbus import PortBus

CTS, DSR, RING, CARRIER = 0x10, 0x20, 0x40, 0x80
DTR, RTS, OUT1, OUT2, BREAK = 0x01, 0x02, 0x04, 0x08, 0x10
LONGEST: Final = 65536  # of a wire


class UartModel:
    """A UART that is plugged in. The other end sends with the format and the rate that the UART is set to.

    Args:
        kind: 0 is an 8250, 1 a 16450, 2 a 16550A.
        obeys: what is fed waits while RTS is off.
    """

    def __init__(self, bus: PortBus, base: int = 0x3F8, irq: int = 4, kind: int = 2, *, obeys: bool = False) -> None:
        self._bus = bus
        self._obeys = obeys
        self._device = bus.plug("uart", base, irq, kind)
        self.connect(CTS | DSR | CARRIER)

    def feed(self, data: bytes, errors: int = 0) -> None:
        """Send these bytes to the UART, after those that are on their way.

        Args:
            errors: what each of them has: 4 parity, 8 framing, 0x10 break; as in the line status.

        Raises: ValueError: the wire does not hold so many; nothing is said of which of them went.
        """
        if self.try_feed(data, errors) < len(data):
            raise ValueError(f"{len(data)} bytes are more than fit: the wire holds {LONGEST}")

    def try_feed(self, data: bytes, errors: int = 0) -> int:
        """The same of the first ones that the wire holds: how many these are."""
        return int(lib.bl_uart_feed(self._device, data, len(data), errors))

    def taken(self) -> bytes:
        """What the UART has sent since the last time; of more than 64 KiB the first."""
        block = ffi.new("uint8_t[]", LONGEST)
        return bytes(ffi.buffer(block, lib.bl_uart_taken(self._device, block, LONGEST)))

    def connect(self, lines: int) -> None:
        """Set the modem lines into it: CTS, DSR, RING, CARRIER."""
        lib.bl_uart_connect(self._device, lines, self._obeys)
        self._bus._tell_events()

    @property
    def outputs(self) -> int:
        """The lines out of it: DTR, RTS, OUT1, OUT2, and BREAK."""
        return int(lib.bl_uart_outputs(self._device))
