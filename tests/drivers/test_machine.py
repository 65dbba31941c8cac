"""This machine's own ports: what is refused, and by whom. Where the kernel gives them, nothing is accessed here: they are somebody's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from test_space import as_limited

import caps
from beamlike import blocking, run
from drivers import MachineSpace, Narrowed, find_devices
from drivers._portbus import lib

GIVES_PORTS = lib.bl_machine_permit(0x80, 1) == 0
refuses = pytest.mark.skipif(GIVES_PORTS, reason="this kernel permits ports, and so there is no refusal to see")


def test_it_is_off_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEAMLIKE_REAL_IO", raising=False)
    with pytest.raises(PermissionError, match="set BEAMLIKE_REAL_IO=1"):
        MachineSpace.open([(0x80, 0x81)])


def test_what_are_no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLIKE_REAL_IO", "1")
    nonsense: list[Any] = [(0x80, 0x80), (-1, 4), (0xFFFF, 0x10001), range(0x80, 0x82), (1.0, 2), 0x80, (1, 2, 3)]
    for wrong in nonsense:
        with pytest.raises(ValueError, match="is no range of ports"):
            MachineSpace.open([wrong])
    with pytest.raises(ValueError, match="no ports were given"):
        MachineSpace.open([])


@refuses
def test_where_the_kernel_refuses_it_says_so_of_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEAMLIKE_REAL_IO", "1")
    with pytest.raises(PermissionError, match=r"ioperm and iopl: .*\((ENOSYS|EPERM)\); .*no-file: No such file"):
        MachineSpace.open([(0x80, 0x81)], str(tmp_path / "no-file"))


@refuses
def test_ports_as_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in the place of /dev/port: a byte a port, as that has."""
    monkeypatch.setenv("BEAMLIKE_REAL_IO", "1")
    file = tmp_path / "port"
    file.write_bytes(bytes(65536))

    async def main() -> None:
        io = MachineSpace.open([(0x80, 0x84), (0x3F8, 0x400)], str(file))
        for port, value in enumerate((0x78, 0x56, 0x34, 0x12), 0x80):
            io.outb(port, value)
        io.outsb(0x3F8, b"abc")
        assert (io.inb(0x81), io.inb(0x3F8), io.insb(0x3F8, 2)) == (0x56, ord("c"), b"cc")
        for wide in (
            lambda: io.inw(0x80),
            lambda: io.inl(0x80),
            lambda: io.outw(0x80, 0),
            lambda: io.outl(0x80, 0),
            lambda: io.insw(0x80, 2),
            lambda: io.outsl(0x80, bytes(8)),
        ):
            with pytest.raises(PermissionError, match="has accesses of 1 byte only"):
                wide()
        for port, width in ((0x7F, 1), (0x7F, 2), (0x84, 1), (0x83, 2), (0x40, 4)):
            with pytest.raises(PermissionError, match="is not in the list"):
                io.port_in(port, width)
            with pytest.raises(PermissionError, match="is not in the list"):
                io.port_out(port, width, 0)
        with pytest.raises(PermissionError, match="has ports only"):
            io.read32(0xFEE00000)

        async def limited() -> None:
            with pytest.raises(caps.CapabilityError):
                io.inw(0x80)
            assert io.inb(0x80) == 0x78

        await as_limited([("port_io", 0x81, 0x82)], limited)

        async def excluded() -> Any:
            with pytest.raises(caps.CapabilityError):
                MachineSpace.open([(0x80, 0x81)], str(file))

        await as_limited([("device", "machine")], excluded)
        with pytest.raises(RuntimeError, match="this is another"):
            await blocking(io.inb, 0x80)
        io.close()
        io.close()
        with pytest.raises(PermissionError, match="is not in the list"):
            io.inb(0x80)

    before = len(os.listdir("/proc/self/fd"))
    run(main)
    assert len(os.listdir("/proc/self/fd")) == before
    assert file.read_bytes()[0x80:0x84] == b"\x78\x56\x34\x12"


@refuses
def test_a_narrowed_space_has_no_more_ports_than_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEAMLIKE_REAL_IO", "1")
    file = tmp_path / "port"
    file.write_bytes(bytes(65536))

    async def main() -> None:
        io = MachineSpace.open([(0x80, 0x81)], str(file))
        space = Narrowed(io, ((0x40, 0x90),), ())
        space.outb(0x80, 1)
        for act in (lambda: space.inb(0x81), lambda: space.outb(0x64, 1), lambda: space.insb(0x64, 2), lambda: space.outsb(0x64, b"ab")):
            with pytest.raises(PermissionError, match="is not in the list"):
                act()
        assert await find_devices(io) == []

    run(main)
    assert file.read_bytes() == bytes(0x80) + b"\1" + bytes(65536 - 0x81)
