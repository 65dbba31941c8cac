"""VGA text, on both machines."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import Play, needs_qemu

from beamlike import run
from drivers import DeviceAbsentError, DeviceError, Fault, IoSpace, PortBus, Qemu
from drivers.devices.cp437 import CHARACTERS, decoded, encoded
from drivers.devices.vga import COLUMNS, MODE_3_ATTRIBUTES, PLAIN, ROWS, Colour, Rgb, Vga, attribute, default_dac
from drivers.models.vga import VgaModel

MODELS = [VgaModel]
QEMU = ["-device", "VGA"]
PORTS = range(0x3B4, 0x3DB)
BLOCK = b"\xff" * 16


def with_text(play: Play, check: Callable[[Vga, Any], None]) -> None:
    """The check gets a VGA in text mode, empty, and, on the port bus, what is to be seen."""

    async def begin(io: IoSpace) -> None:
        vga = Vga(io)
        vga.set_text_mode()
        vga.clear()
        check(vga, io.models[VgaModel] if isinstance(io, PortBus) else None)

    play(begin, MODELS, qemu=QEMU)


def shown(vga: Vga) -> str:
    return "\n".join(line.rstrip() for line in vga.text()).rstrip("\n")


def test_text_mode_is_set_from_nothing(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        assert vga.text() == [" " * COLUMNS] * ROWS
        assert [vga.palette(colour) for colour in range(16)] == list(MODE_3_ATTRIBUTES[:16])
        assert vga.dac(vga.palette(Colour.BROWN)) == Rgb(42, 21, 0)
        assert vga.dac(vga.palette(Colour.WHITE)) == Rgb(63, 63, 63)
        assert vga.is_blinking()
        assert vga.cursor() == (0, 0)
        if screen:
            assert screen.text() == ""
            assert len(screen.lines()) == ROWS
            assert screen.cursor == (0, 0)
            assert screen.colour(Colour.LIGHT_GREEN) == (21, 63, 21)

    with_text(play, check)


def test_setting_the_mode_again_keeps_the_text(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        vga.put(3, 4, "still here")
        vga.move_cursor(5, 5)
        vga.set_text_mode()  # its registers are protected now
        assert vga.cell(3, 4) == ("s", PLAIN)
        assert vga.cursor() == (0, 0)
        assert shown(vga) == "\n\n\n    still here"

    with_text(play, check)


def test_text_stands_where_it_was_put_and_looks_so(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        look = attribute(Colour.YELLOW, Colour.BLUE)
        vga.put(2, 5, "Grüße", look)
        vga.put(24, 79, "█")
        assert vga.cell(2, 5) == ("G", 0x1E)
        assert vga.cell(2, 7) == ("ü", 0x1E)
        assert vga.cell(2, 10) == (" ", PLAIN)
        assert vga.cell(24, 79) == ("█", PLAIN)
        assert vga.cursor() == (0, 0)
        if screen:
            assert screen.lines()[2] == "     Grüße"
            assert screen.cells()[2][10:12] == b"G\x1e"

    with_text(play, check)


def test_writing_goes_on_at_the_cursor(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        vga.write("one\ntwo")
        vga.write(" three\n")
        assert shown(vga) == "one\ntwo three"
        assert vga.cursor() == (2, 0)
        vga.write("x" * (COLUMNS + 3))
        assert vga.text()[2:4] == ["x" * COLUMNS, "xxx" + " " * (COLUMNS - 3)]
        assert vga.cursor() == (3, 3)
        if screen:
            assert screen.text().startswith("one\ntwo three\nxxx")
            assert screen.cursor == (3, 3)

    with_text(play, check)


def test_writing_past_the_last_row_lets_all_go_up(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        look = attribute(Colour.GREEN)
        vga.write("\n".join(f"line {number}" for number in range(30)), look)
        assert [line.rstrip() for line in vga.text()] == [f"line {number}" for number in range(5, 30)]
        assert vga.cursor() == (24, 7)
        assert vga.cell(24, 40) == (" ", look)
        vga.write("x" * (COLUMNS - 7))
        assert vga.cursor() == (24, 0)
        assert vga.text()[23].startswith("line 29xxx")

    with_text(play, check)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, "b\nc"), (2, "c"), (25, ""), (99, ""), (-1, "\na\nb\nc"), (-23, "\n" * 23 + "a\nb"), (-99, "")]
)
def test_scrolling_up_and_down(play: Play, rows: int, expected: str) -> None:
    def check(vga: Vga, screen: Any) -> None:
        look = attribute(Colour.WHITE, Colour.RED)
        vga.write("a\nb\nc")
        vga.scroll(rows, look)
        assert shown(vga) == expected
        assert vga.cell(ROWS - 1 if rows > 0 else 0, 79) == (" ", look)

    with_text(play, check)


def test_the_cursor_is_moved_shaped_and_hidden(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        for row, column in ((0, 0), (24, 79), (3, 17), (12, 64)):
            vga.move_cursor(row, column)
            assert vga.cursor() == (row, column)
            if screen:
                assert screen.cursor == (row, column)
        vga.show_cursor(False)
        vga.shape_cursor(0, 15)
        assert (vga._get(0x3D4, 0x0A), vga._get(0x3D4, 0x0B)) == (0x20, 15)
        if screen:
            assert screen.cursor is None
        vga.show_cursor(True)
        assert (vga._get(0x3D4, 0x0A), vga._get(0x3D4, 0x0B)) == (0, 15)
        if screen:
            assert screen.cursor == (12, 64)

    with_text(play, check)


def test_colours_can_be_others(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        vga.set_dac(40, Rgb(1, 2, 63))
        vga.set_palette(Colour.RED, 40)
        assert vga.palette(Colour.RED) == 40
        assert vga.dac(vga.palette(Colour.RED)) == Rgb(1, 2, 63)
        assert vga.dac(41) == default_dac(41)
        vga.set_dac(255, Rgb(9, 8, 7))
        assert vga.dac(255) == Rgb(9, 8, 7)
        if screen:
            assert screen.colour(Colour.RED) == (1, 2, 63)
            assert screen.lines()  # it is still on

    with_text(play, check)


def test_blinking_or_bright_backgrounds(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        for is_on in (False, True, False):
            vga.set_blink(is_on)
            assert vga.is_blinking() is is_on
        assert vga._get_attribute(0x10) == MODE_3_ATTRIBUTES[0x10] & ~0x08

    with_text(play, check)


def test_a_font_is_loaded_and_text_stays(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        vga.write("text")
        glyphs = {0x41: bytes(range(16)), 0xFF: BLOCK, 0x00: bytes(reversed(range(16)))}
        vga.load_font(glyphs)
        assert {code: vga.glyph(code) for code in glyphs} == glyphs
        assert vga.glyph(0x42) == bytes(16)
        assert shown(vga) == "text"
        vga.write(" more")
        assert shown(vga) == "text more"
        if screen:
            assert screen.glyph(0x41) == bytes(range(16))

    with_text(play, check)


def test_what_cannot_be(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        for wrong in ((25, 0), (0, 80), (-1, 0), (0, -1)):
            with pytest.raises(ValueError, match="expected 0 to 24 and 0 to 79"):
                vga.move_cursor(*wrong)
            with pytest.raises(ValueError, match="expected 0 to 24 and 0 to 79"):
                vga.put(*wrong, "")
            with pytest.raises(ValueError, match="expected 0 to 24 and 0 to 79"):
                vga.cell(*wrong)
        with pytest.raises(ValueError, match="3 characters at column 78: expected no more than 2"):
            vga.put(0, 78, "abc")
        with pytest.raises(ValueError, match="attribute 256: expected 0 to 255"):
            vga.write("a", 256)
        with pytest.raises(ValueError, match="from scan line 4 to 3"):
            vga.shape_cursor(4, 3)
        with pytest.raises(ValueError, match="colour 16: expected 0 to 15"):
            vga.set_palette(16, 0)
        with pytest.raises(ValueError, match="DAC entry of the palette 64"):
            vga.set_palette(0, 64)
        with pytest.raises(ValueError, match="part of a colour 64: expected 0 to 63"):
            vga.set_dac(0, Rgb(0, 0, 64))
        with pytest.raises(ValueError, match="DAC entry 256"):
            vga.dac(256)
        with pytest.raises(ValueError, match="15 bytes for 0x41: expected 16"):
            vga.load_font({0x42: BLOCK, 0x41: BLOCK[1:]})
        assert vga.glyph(0x42) == bytes(16)
        with pytest.raises(ValueError, match="YELLOW that blinks"):
            attribute(Colour.WHITE, Colour.YELLOW, blinks=True)
        assert shown(vga) == ""
        vga.write("\t\x1b")
        assert shown(vga) == "■■"

    with_text(play, check)


def test_a_cursor_that_is_not_on_the_screen(play: Play) -> None:
    def check(vga: Vga, screen: Any) -> None:
        vga._set(0x3D4, 0x0E, 0xFF)
        with pytest.raises(DeviceError, match="cursor is at cell 65280: expected less than 2000"):
            vga.write("a")

    with_text(play, check)


def test_no_vga(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        with pytest.raises(DeviceAbsentError, match="no VGA: its bit mask at 0x3cf reads as 0xff"):
            Vga(io).set_text_mode()

    play(check, [])


def picture(io: Qemu) -> bytes:
    """What its monitor shows: a PPM."""
    with tempfile.NamedTemporaryFile(suffix=".ppm") as file:
        io.qmp("screendump", filename=file.name)
        return file.read()


@needs_qemu
def test_qemu_shows_what_was_written() -> None:
    # Only an emulator has a picture. A monitor of 720 by 400 points: cells of 9 by 16, of which a block fills the left 8.
    async def check() -> None:
        io = await Qemu.start(*QEMU)
        vga = Vga(io)
        vga.set_text_mode()
        vga.clear(attribute(Colour.LIGHT_GREY, Colour.BLUE))
        vga.show_cursor(False)
        vga.load_font({0x41: BLOCK, 0x42: b"\x80" * 8 + bytes(8)})
        vga.put(0, 0, "AB", attribute(Colour.YELLOW, Colour.RED))
        vga.put(24, 79, "A", attribute(Colour.LIGHT_GREEN))
        header, points = picture(io).split(b"\n255\n", 1)
        assert header == b"P6\n720 400"

        def point(x: int, y: int) -> tuple[int, ...]:
            at = 3 * (y * 720 + x)
            return tuple(part >> 2 for part in points[at : at + 3])

        yellow, red, blue, green = (63, 63, 21), (42, 0, 0), (0, 0, 42), (21, 63, 21)
        assert [point(x, 0) for x in (0, 7, 8, 9, 10, 18)] == [yellow, yellow, red, yellow, red, blue]
        assert [point(9, y) for y in (7, 8, 15, 16)] == [yellow, red, red, blue]
        assert [point(x, 399) for x in (710, 711, 718)] == [blue, green, green]

    run(check)


# What follows is for the port bus only: QEMU's VGA does not fail.


def on_portbus(check: Callable[[Any], Any]) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.models[VgaModel] = VgaModel(bus)
        await check(bus)

    run(main)


def test_a_monitor_that_was_never_switched_on_is_dark() -> None:
    async def check(io: PortBus) -> None:
        assert io.models[VgaModel].lines() == []
        assert io.models[VgaModel].cursor is None
        assert io.load(0xB8000, 4) == b"\xff" * 4  # its memory is not there, either

    on_portbus(check)


def test_a_vga_that_goes_away_or_takes_nothing() -> None:
    async def check(io: PortBus) -> None:
        io.fault(Fault.LOSE, PORTS)
        with pytest.raises(DeviceAbsentError, match="reads as 0x00 after 0x55 was written"):
            Vga(io).set_text_mode()
        io.repair()
        io.fault(Fault.MISSING, PORTS)
        with pytest.raises(DeviceAbsentError, match="reads as 0xff after 0x55 was written"):
            Vga(io).set_text_mode()

    on_portbus(check)


@pytest.mark.parametrize(("port", "what"), [(0x3D5, "CRTC"), (0x3C5, "sequencer"), (0x3C0, "attribute")])
def test_a_register_that_does_not_keep_its_value(port: int, what: str) -> None:
    async def check(io: PortBus) -> None:
        io.fault(Fault.LOSE, port)
        with pytest.raises(DeviceError, match=f"the VGA's {what} registers are 00 .*: expected "):
            Vga(io).set_text_mode()

    on_portbus(check)


def test_the_beam_goes_back_to_the_top_seventy_times_a_second() -> None:
    # Of the model alone: the driver does not look at the beam, and QEMU's is at the top at every second look.
    async def check(io: PortBus) -> None:
        io.outb(0x3C2, 0x67)
        looks = []
        for _ in range(50_000):
            looks.append(io.inb(0x3DA) >> 3 & 1)
            io.advance(2e-5)
        assert sum(later > earlier for earlier, later in pairwise(looks)) == 70

    on_portbus(check)


@pytest.mark.parametrize("seed", range(3))
def test_no_accesses_harm_the_model(seed: int) -> None:
    async def check(io: PortBus) -> None:
        chance, screen = random.Random(seed), io.models[VgaModel]
        for step in range(5000):
            width = chance.choice((1, 2, 4))
            if chance.random() < 0.6:
                io.port_out(chance.choice(PORTS), width, chance.randrange(1 << 8 * width))
                io.port_in(chance.choice(PORTS), width)
            else:
                io.memory_out(0xA0000 + chance.randrange(0x20000) // 4 * 4, width, chance.randrange(1 << 8 * width))
                io.memory_in(0xA0000 + chance.randrange(0x20000) // 4 * 4, width)
            if step % 50 == 0:
                assert len(screen.lines()) <= 1024
                assert screen.cursor is None or min(screen.cursor) >= 0
                assert max(screen.colour(chance.randrange(2**32))) < 64
                screen.glyph(chance.randrange(2**32))
        vga = Vga(io)
        vga.set_text_mode()
        vga.clear()
        vga.write("still here")
        assert screen.text() == "still here"

    on_portbus(check)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_ports_say_the_driver_comes_to_an_end(seed: int) -> None:
    async def check(io: PortBus) -> None:
        chance, vga = random.Random(seed), Vga(io)
        for _ in range(6):
            kind = chance.choice((Fault.ONES, Fault.ZEROS, Fault.MISSING, Fault.LOSE))
            io.fault(kind, chance.choice(PORTS), mask=chance.randrange(256), skip=chance.randrange(600), count=chance.randrange(1, 50))
        for _ in range(4):
            with suppress(DeviceError):
                vga.set_text_mode()
                vga.load_font({0x41: BLOCK})
                vga.write("text\n" * 30)
        io.repair()
        vga.set_text_mode()
        vga.clear()
        vga.write("well again")
        assert io.models[VgaModel].text() == "well again"

    on_portbus(check)


# What follows needs no machine.


def test_the_code_page_has_256_characters_and_blanks_look_the_same() -> None:
    assert len(CHARACTERS) == 256
    assert encoded("A☺⌂ß█ §") == b"A\x01\x7f\xe1\xdb \x15"
    assert encoded("日") == b"\xfe"
    assert decoded(b"\x00\x20") == "  "


@given(st.binary())
def test_what_is_shown_can_be_written_again(codes: bytes) -> None:
    assert encoded(decoded(codes)) == codes.replace(b"\0", b" ")
