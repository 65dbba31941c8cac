"""VGA in text mode: 80 columns and 25 rows.

Source: IBM, PS/2 Hardware Interface Technical Reference: Video Subsystem (1992), VGA function; mode 3 as set by the VGA's BIOS.

Covers: mode 3 from nothing, text with attributes, scrolling, the cursor, palette and DAC, blinking or bright backgrounds, fonts. Not:
graphics, other sizes of text, two fonts at once, the vertical retrace, which is too short to be seen by who looks each millisecond; a font
itself: a BIOS has one, and without a BIOS one must be loaded before anything can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from beamlike import record
from drivers.devices.cp437 import decoded, encoded
from drivers.errors import DeviceAbsentError, DeviceError
from drivers.space import IoSpace

COLUMNS, ROWS = 80, 25
TEXT: Final = 0xB8000
FONTS: Final = 0xA0000
GLYPH_STEP, GLYPH_HEIGHT = 32, 16  # bytes from one to the next, of which so many are shown

ATTRIBUTE, ATTRIBUTE_READ, MISCELLANEOUS, SEQUENCER, MASK = 0x3C0, 0x3C1, 0x3C2, 0x3C4, 0x3C6
DAC_READ, DAC_WRITE, DAC_DATA, MISCELLANEOUS_READ, GRAPHICS, CRTC, STATUS = 0x3C7, 0x3C8, 0x3C9, 0x3CC, 0x3CE, 0x3D4, 0x3DA
CURSOR_FIRST, CURSOR_LAST, CURSOR_HIGH, CURSOR_LOW, CURSOR_OFF = 0x0A, 0x0B, 0x0E, 0x0F, 0x20
PROTECT, UNPROTECTED = 0x11, 0x7F
MODE_CONTROL, BLINK = 0x10, 0x08
SHOW: Final = 0x20  # in the attribute controller's index: the screen has the palette
BIT_MASK: Final = 8

MODE_3_MISCELLANEOUS: Final = 0x67
MODE_3_SEQUENCER: Final = bytes.fromhex("03 00 03 00 02")
MODE_3_CRTC: Final = bytes.fromhex("5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff")
MODE_3_GRAPHICS: Final = bytes.fromhex("00 00 00 00 00 10 0e 00 ff")
MODE_3_ATTRIBUTES: Final = bytes.fromhex("00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f 0c 00 0f 08 00")
TO_FONTS: Final = ((SEQUENCER, {2: 0x04, 4: 0x06}), (GRAPHICS, {4: 0x02, 5: 0x00, 6: 0x04}))  # plane 2 alone, at 0xa0000


class Colour(IntEnum):
    """The sixteen, as long as nobody changes them. Those from 8 are bright."""

    BLACK = 0
    BLUE = 1
    GREEN = 2
    CYAN = 3
    RED = 4
    MAGENTA = 5
    BROWN = 6
    LIGHT_GREY = 7
    DARK_GREY = 8
    LIGHT_BLUE = 9
    LIGHT_GREEN = 10
    LIGHT_CYAN = 11
    LIGHT_RED = 12
    LIGHT_MAGENTA = 13
    YELLOW = 14
    WHITE = 15


@record
class Rgb:
    """Of the DAC, 0 to 63."""

    red: int
    green: int
    blue: int


def attribute(foreground: Colour, background: Colour = Colour.BLACK, *, blinks: bool = False) -> int:
    """How a character looks. A bright background is to be had only after `set_blink(False)`; else the character blinks instead.

    Raises: ValueError: no colours; or both a bright background and blinking, which are the same bit.
    """
    if blinks and background >= Colour.DARK_GREY:
        raise ValueError(f"a background of {Colour(background).name} that blinks: expected one of the first eight colours")
    return Colour(foreground) | Colour(background) << 4 | blinks << 7


PLAIN: Final = attribute(Colour.LIGHT_GREY)


def default_dac(index: int) -> Rgb:
    """The first 64 colours as mode 3 has them: the bits of the EGA's, two for each of red, green and blue."""

    def strength(strong: int, weak: int) -> int:
        return 42 * (index >> strong & 1) + 21 * (index >> weak & 1)

    return Rgb(strength(2, 5), strength(1, 4), strength(0, 3))


class Vga:
    """A VGA. `set_text_mode` comes first where no BIOS has done it."""

    def __init__(self, io: IoSpace) -> None:
        self.io = io

    # --- the mode ---

    def set_text_mode(self) -> None:
        """Mode 3: the usual colours, blinking, the cursor at the top left. Text and fonts stay as they are: `clear` and `load_font`.

        Raises: DeviceAbsentError: nobody answers; DeviceError: a register does not keep what it was told.
        """
        self._check()
        self.io.outb(MISCELLANEOUS, MODE_3_MISCELLANEOUS)
        self._set(SEQUENCER, 0, 0x01)  # it stops while its clocks change
        for index, value in enumerate(MODE_3_SEQUENCER[1:], 1):
            self._set(SEQUENCER, index, value)
        self._set(SEQUENCER, 0, MODE_3_SEQUENCER[0])
        self._set(CRTC, PROTECT, self._get(CRTC, PROTECT) & UNPROTECTED)
        for index, value in enumerate(MODE_3_CRTC):
            self._set(CRTC, index, value)
        for index, value in enumerate(MODE_3_GRAPHICS):
            self._set(GRAPHICS, index, value)
        for index, value in enumerate(MODE_3_ATTRIBUTES):
            self._set_attribute(index, value)
        self.io.outb(MASK, 0xFF)
        for index in range(64):
            self.set_dac(index, default_dac(index))
        self._verify()

    def _check(self) -> None:
        for pattern in (0x55, 0xAA):
            self._set(GRAPHICS, BIT_MASK, pattern)
            if (found := self._get(GRAPHICS, BIT_MASK)) != pattern:
                raise DeviceAbsentError(f"no VGA: its bit mask at {GRAPHICS + 1:#x} reads as {found:#04x} after {pattern:#04x} was written")

    def _verify(self) -> None:
        for what, base, table in (
            ("sequencer", SEQUENCER, MODE_3_SEQUENCER),
            ("CRTC", CRTC, MODE_3_CRTC),
            ("graphics", GRAPHICS, MODE_3_GRAPHICS),
        ):
            found = bytes(self._get(base, index) for index in range(len(table)))
            if found != table:
                raise DeviceError(f"the VGA's {what} registers are {found.hex(' ')}: expected {table.hex(' ')}")
        found = bytes(self._get_attribute(index) for index in range(len(MODE_3_ATTRIBUTES)))
        if found != MODE_3_ATTRIBUTES:
            raise DeviceError(f"the VGA's attribute registers are {found.hex(' ')}: expected {MODE_3_ATTRIBUTES.hex(' ')}")

    # --- text ---

    def put(self, row: int, column: int, text: str, look: int = PLAIN) -> None:
        """Write into one row; the cursor stays. What code page 437 lacks is a ■.

        Raises: ValueError: it does not fit there; or that is no attribute.
        """
        _check_cell(row, column)
        if column + len(text) > COLUMNS:
            raise ValueError(f"{len(text)} characters at column {column}: expected no more than {COLUMNS - column}")
        self._store(row * COLUMNS + column, _cells(encoded(text), look))

    def write(self, text: str, look: int = PLAIN) -> None:
        """Write at the cursor, and move it on: to the next row at the end of one and after a newline; the last one lets all rows go up.

        Other control characters are none that it knows: a ■, as in `put`.

        Raises: ValueError: no attribute; DeviceError: the cursor was not on the screen.
        """
        _check_attribute(look)
        row, column = self.cursor()
        for number, line in enumerate(text.split("\n")):
            if number:
                row, column = self._next_row(row, look), 0
            while line:
                part, line = line[: COLUMNS - column], line[COLUMNS - column :]
                self.put(row, column, part, look)
                column += len(part)
                if column == COLUMNS:
                    row, column = self._next_row(row, look), 0
        self.move_cursor(row, column)

    def _next_row(self, row: int, look: int) -> int:
        if row < ROWS - 1:
            return row + 1
        self.scroll(1, look)
        return row

    def clear(self, look: int = PLAIN) -> None:
        """Blanks everywhere, and the cursor at the top left. Raises: ValueError: no attribute."""
        self._store(0, _cells(b" " * (COLUMNS * ROWS), look))
        self.move_cursor(0, 0)

    def scroll(self, rows: int, look: int = PLAIN) -> None:
        """Let the text go up, or, with less than 0, down, and blanks come in. Raises: ValueError: no attribute."""
        kept = max(ROWS - abs(rows), 0) * COLUMNS
        blanks = _cells(b" " * (COLUMNS * ROWS - kept), look)
        text = self.io.load(TEXT, 2 * COLUMNS * ROWS)
        self._store(0, text[len(text) - 2 * kept :] + blanks if rows > 0 else blanks + text[: 2 * kept])

    def text(self) -> list[str]:
        """What stands in each row, with all its blanks."""
        codes = self.io.load(TEXT, 2 * COLUMNS * ROWS)[::2]
        return [decoded(codes[at : at + COLUMNS]) for at in range(0, COLUMNS * ROWS, COLUMNS)]

    def cell(self, row: int, column: int) -> tuple[str, int]:
        """A character, and its attribute. Raises: ValueError: there is no such cell."""
        _check_cell(row, column)
        found = self.io.read16(TEXT + 2 * (row * COLUMNS + column))
        return decoded(bytes([found & 0xFF])), found >> 8

    def _store(self, cell: int, cells: bytes) -> None:
        self.io.store(TEXT + 2 * cell, cells)

    # --- the cursor ---

    def move_cursor(self, row: int, column: int) -> None:
        """Put it there. Raises: ValueError: there is no such cell."""
        _check_cell(row, column)
        at = row * COLUMNS + column
        self._set(CRTC, CURSOR_HIGH, at >> 8)
        self._set(CRTC, CURSOR_LOW, at & 0xFF)

    def cursor(self) -> tuple[int, int]:
        """Its row and column. Raises: DeviceError: it is not on the screen."""
        at = self._get(CRTC, CURSOR_HIGH) << 8 | self._get(CRTC, CURSOR_LOW)
        if at >= COLUMNS * ROWS:
            raise DeviceError(f"the VGA's cursor is at cell {at}: expected less than {COLUMNS * ROWS}")
        return divmod(at, COLUMNS)

    def shape_cursor(self, first: int, last: int) -> None:
        """The scan lines of a cell that it fills, 0 to 15. Raises: ValueError: they are none."""
        if not 0 <= first <= last < GLYPH_HEIGHT:
            raise ValueError(f"a cursor from scan line {first} to {last}: expected 0 to {GLYPH_HEIGHT - 1}, the first not after the last")
        self._set(CRTC, CURSOR_FIRST, self._get(CRTC, CURSOR_FIRST) & CURSOR_OFF | first)
        self._set(CRTC, CURSOR_LAST, last)

    def show_cursor(self, is_on: bool) -> None:
        """Let it be seen, or not."""
        rest = self._get(CRTC, CURSOR_FIRST) & ~CURSOR_OFF
        self._set(CRTC, CURSOR_FIRST, rest if is_on else rest | CURSOR_OFF)

    # --- colours ---

    def set_palette(self, colour: int, entry: int) -> None:
        """Let one of the sixteen be another entry of the DAC, 0 to 63. Raises: ValueError: there is no such one."""
        _check_range("colour", colour, 16)
        _check_range("DAC entry of the palette", entry, 64)
        self._set_attribute(colour, entry)

    def palette(self, colour: int) -> int:
        """The entry of the DAC that one of the sixteen is. Raises: ValueError: there is no such one."""
        _check_range("colour", colour, 16)
        return self._get_attribute(colour)

    def set_dac(self, entry: int, colour: Rgb) -> None:
        """Let an entry of the DAC look so, each part 0 to 63. Raises: ValueError: there is no such one."""
        _check_range("DAC entry", entry, 256)
        parts = colour.red, colour.green, colour.blue
        for part in parts:
            _check_range("part of a colour", part, 64)
        self.io.outb(DAC_WRITE, entry)
        self.io.outsb(DAC_DATA, bytes(parts))

    def dac(self, entry: int) -> Rgb:
        """How an entry of the DAC looks. Raises: ValueError: there is no such one."""
        _check_range("DAC entry", entry, 256)
        self.io.outb(DAC_READ, entry)
        return Rgb(*(part & 0x3F for part in self.io.insb(DAC_DATA, 3)))

    def set_blink(self, is_on: bool) -> None:
        """Bit 7 of an attribute lets the character blink; else it makes the background bright."""
        rest = self._get_attribute(MODE_CONTROL) & ~BLINK
        self._set_attribute(MODE_CONTROL, rest | BLINK if is_on else rest)

    def is_blinking(self) -> bool:
        """Does bit 7 of an attribute let the character blink?"""
        return bool(self._get_attribute(MODE_CONTROL) & BLINK)

    # --- fonts ---

    def load_font(self, glyphs: Mapping[int, bytes]) -> None:
        """Let these characters look so. In text mode; text and other characters stay.

        Args:
            glyphs: for codes of the code page, 0 to 255, sixteen bytes, a scan line each, its leftmost point the highest bit.

        Raises: ValueError: there is no such code, or a glyph has another size.
        """
        for code, glyph in glyphs.items():
            _check_range("code", code, 256)
            if len(glyph) != GLYPH_HEIGHT:
                raise ValueError(f"a glyph of {len(glyph)} bytes for {code:#04x}: expected {GLYPH_HEIGHT}")
        before = self._show_fonts()
        for code, glyph in glyphs.items():
            self.io.store(FONTS + code * GLYPH_STEP, glyph)
        self._put_back(before)

    def glyph(self, code: int) -> bytes:
        """How a character looks. Raises: ValueError: there is no such code."""
        _check_range("code", code, 256)
        before = self._show_fonts()
        found = self.io.load(FONTS + code * GLYPH_STEP, GLYPH_HEIGHT)
        self._put_back(before)
        return found

    def _show_fonts(self) -> list[tuple[int, int, int]]:
        """Let the processor see the plane with the fonts. The registers as they were before."""
        before = [(base, index, self._get(base, index)) for base, values in TO_FONTS for index in values]
        self._put_back([(base, index, value) for base, values in TO_FONTS for index, value in values.items()])
        return before

    def _put_back(self, registers: list[tuple[int, int, int]]) -> None:
        for base, index, value in registers:
            self._set(base, index, value)

    # --- registers ---

    def _set(self, base: int, index: int, value: int) -> None:
        self.io.outb(base, index)
        self.io.outb(base + 1, value)

    def _get(self, base: int, index: int) -> int:
        self.io.outb(base, index)
        return self.io.inb(base + 1)

    def _set_attribute(self, index: int, value: int) -> None:
        self._begin_attribute(index)
        self.io.outb(ATTRIBUTE, value)
        self.io.outb(ATTRIBUTE, SHOW)

    def _get_attribute(self, index: int) -> int:
        self._begin_attribute(index)
        found = self.io.inb(ATTRIBUTE_READ)
        self._begin_attribute(SHOW)
        return found

    def _begin_attribute(self, index: int) -> None:
        self.io.inb(STATUS)  # index and data go to one port in turn, and this lets it be the index's
        self.io.outb(ATTRIBUTE, index)


def _cells(codes: bytes, look: int) -> bytes:
    _check_attribute(look)
    cells = bytearray([0, look]) * len(codes)
    cells[::2] = codes
    return bytes(cells)


def _check_cell(row: int, column: int) -> None:
    if not (0 <= row < ROWS and 0 <= column < COLUMNS):
        raise ValueError(f"row {row}, column {column}: expected 0 to {ROWS - 1} and 0 to {COLUMNS - 1}")


def _check_attribute(look: int) -> None:
    _check_range("attribute", look, 256)


def _check_range(what: str, value: int, end: int) -> None:
    if not 0 <= value < end:
        raise ValueError(f"{what} {value!r}: expected 0 to {end - 1}")
