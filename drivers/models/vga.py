"""The host's side of the VGA's model: a look at the monitor."""

from __future__ import annotations

from drivers._portbus import ffi, lib
from drivers.devices.cp437 import decoded
from drivers.portbus import PortBus

MOST_CELLS = 256 * 128


class VgaModel:
    """What is to be seen, of text."""

    def __init__(self, bus: PortBus) -> None:
        self._device = bus.plug("vga")

    def cells(self) -> list[bytes]:
        """Each row that is shown: a character and an attribute for each column. Empty: the monitor is dark, or shows graphics."""
        cells = ffi.new("uint8_t[]", 2 * MOST_CELLS)
        size = ffi.new("uint32_t[2]")
        lib.bl_vga_screen(self._device, cells, MOST_CELLS, size, size + 1)
        columns, rows = size
        shown = bytes(ffi.buffer(cells, 2 * columns * rows))
        return [shown[2 * columns * row : 2 * columns * (row + 1)] for row in range(rows)]

    def lines(self) -> list[str]:
        """The text that is shown, without blanks at the ends of rows."""
        return [decoded(row[::2]).rstrip() for row in self.cells()]

    def text(self) -> str:
        """The same in one, without empty rows at the end."""
        return "\n".join(self.lines()).rstrip("\n")

    @property
    def cursor(self) -> tuple[int, int] | None:
        """Its row and column; None: it does not show."""
        at, rows = int(lib.bl_vga_cursor(self._device)), self.cells()
        columns = len(rows[0]) // 2 if rows else 0
        return divmod(at, columns) if 0 <= at < columns * len(rows) else None

    def colour(self, colour: int) -> tuple[int, int, int]:
        """How one of the 16 looks: red, green, blue, 0 to 63."""
        found = int(lib.bl_vga_colour(self._device, colour))
        return found >> 16, found >> 8 & 0xFF, found & 0xFF

    def glyph(self, code: int, height: int = 16) -> bytes:
        """How a character looks, scan line by scan line."""
        return bytes(int(lib.bl_vga_glyph(self._device, code, line)) for line in range(height))
