"""PCI's configuration space, what is on the buses, and setting that up, on both machines.

QEMU differs from the model in these: all of configuration space from 0x40 that has no meaning can be written (in the model it is 0); the
PIIX3 has an IDE and a power management function; memory without anybody reads as 0 instead of all ones; of bridges that have
the same bus behind them, only the last one leads there. The PIIX3's command register is 0 after a reset, not 7 as the data sheet says, in
both.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from machines import Play

from drivers import DeviceAbsentError, DeviceError, Fault, IoSpace, PortBus
from drivers._portbus import lib
from drivers.devices.pci import Address, Bar, Command, Function, Pci, Space
from drivers.devices.pci_names import capability_name, class_name
from drivers.devices.pci_setup import Piix3, assign, number_buses

PCI: list[Any] = [("pci",)]
TESTDEV = [*PCI, ("pci_testdev",)]
TESTDEV_QEMU = ["-device", "pci-testdev,membar=1M"]
BRIDGE = [*PCI, ("pci_bridge",), ("pci_bridge",), ("pci_behind", 2), ("pci_testdev",)]
BRIDGE_QEMU = [
    *("-device", "pci-bridge,id=b,chassis_nr=1", "-device", "pci-bridge,id=c,chassis_nr=2"),
    *("-device", "pci-testdev,bus=b,membar=1M,addr=0"),
]
HOST, ISA, SECOND = Address(0, 0, 0), Address(0, 1, 0), Address(0, 2, 0)


def _testdev(pci: Pci) -> Function:
    (found,) = pci.find(0x1B36, 0x0005)
    return found


def _answers(io: IoSpace, bar: Bar) -> bool:
    """Does a test device answer there? Its ports read as 0, and its memory keeps a 2 at its beginning: in QEMU the number of a test."""
    if bar.space is Space.IO:
        return io.inb(bar.address) == 0
    io.write8(bar.address, 2)
    return io.read8(bar.address) == 2


def test_the_bridges_of_the_board_are_found(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        found = {each.address: each for each in Pci(io).scan()}
        assert found[HOST] == Function(HOST, 0x8086, 0x1237, 6, 0, 0, 2, 0)
        assert (found[HOST].name, found[ISA].name) == ("bridge: host", "bridge: ISA")
        assert (found[ISA].vendor, found[ISA].device) == (0x8086, 0x7000)

    play(check, PCI)


def test_nobody_is_where_no_function_is(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        assert pci.function(Address(0, 9, 0)) is None
        assert pci.read32(Address(9, 0, 0), 0) == 0xFFFF_FFFF
        assert pci.find(0x8086, 0x9999) == []

    play(check, PCI)


def test_configuration_space_is_read_and_written_in_each_width(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        assert pci.read32(HOST, 0) == 0x12378086
        assert [pci.read16(HOST, 0), pci.read16(HOST, 2)] == [0x8086, 0x1237]
        assert [pci.read8(HOST, each) for each in range(4)] == [0x86, 0x80, 0x37, 0x12]
        pci.write8(ISA, 0x61, 0x0A)
        assert pci.read32(ISA, 0x60) == 0x8080_0A80
        pci.write16(ISA, 0x62, 0x0B05)
        assert pci.read32(ISA, 0x60) == 0x0B05_0A80
        pci.write32(ISA, 0x60, 0x8080_8080)
        assert [pci.read8(ISA, each) for each in range(0x60, 0x64)] == [0x80] * 4

    play(check, PCI)


def test_what_is_hardwired_keeps_its_value(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        for offset in (0x00, 0x08):
            before = pci.read32(HOST, offset)
            pci.write32(HOST, offset, ~before & 0xFFFF_FFFF)
            assert pci.read32(HOST, offset) == before

    play(check, PCI)


def test_the_address_register_takes_only_double_words(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        io.outl(0xCF8, 0x8000_0000)
        io.outb(0xCF8, 0x08)
        io.outw(0xCF8, 0x08)
        assert io.inl(0xCF8) == 0x8000_0000
        assert io.inl(0xCFC) == 0x12378086
        io.outl(0xCF8, 0)
        assert io.inl(0xCFC) == 0xFFFF_FFFF  # it is not enabled

    play(check, PCI)


@pytest.mark.parametrize(
    ("at", "offset", "width"),
    [
        ((256, 0, 0), 0, 1),
        ((0, 32, 0), 0, 1),
        ((0, 0, 8), 0, 1),
        ((0, 0, 0), 256, 1),
        ((0, 0, 0), 2, 4),
        ((0, 0, 0), 0, 3),
        ((0, 0, 0), -4, 4),
    ],
)
def test_what_is_no_function_or_register_is_refused(play: Play, at: tuple[int, int, int], offset: int, width: int) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        with pytest.raises(ValueError, match="expected"):
            pci.read(Address(*at), offset, width)
        with pytest.raises(ValueError, match="expected"):
            pci.write(Address(*at), offset, width, 0)

    play(check, PCI)


def test_base_addresses_tell_their_kinds_and_sizes(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        memory, ports, big = pci.bars(_testdev(pci))
        assert memory == (0, Space.MEMORY, 0, 4096, False, False)
        assert ports == (1, Space.IO, 0, 256, False, False)
        assert big == (2, Space.MEMORY, 0, 1 << 20, True, True)
        assert pci.bars(Function(HOST, 0, 0, 0, 0, 0, 0, 0)) == []

    play(check, TESTDEV, TESTDEV_QEMU)


def test_each_gets_an_address_that_nobody_has_and_answers_there_when_enabled(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        assigned = assign(pci)
        functions = pci.find(0x1B36, 0x0005)
        assert len(functions) == 2
        every = sorted((each for bars in assigned.values() for each in bars), key=lambda bar: (bar.space, bar.address))
        assert all(each.address and each.address % each.size == 0 for each in every)
        assert not any(one.space is two.space and two.address < one.end for one, two in pairwise(every))
        for function in functions:
            memory, ports, big = assigned[function.address]
            assert pci.bars(function) == [memory, ports, big]
            assert not _answers(io, ports)
            assert not _answers(io, memory)
            pci.enable(function, Command.IO)
            assert (_answers(io, ports), _answers(io, memory)) == (True, False)
            assert io.inb(ports.end - 1) == 0
            pci.enable(function, Command.MEMORY)
            assert _answers(io, memory)
            pci.disable(function)
            assert not _answers(io, ports)
            assert not _answers(io, memory)

    play(check, [*TESTDEV, ("pci_testdev",)], [*TESTDEV_QEMU, *TESTDEV_QEMU])


def test_what_has_an_address_keeps_it(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        function = _testdev(pci)
        memory, ports, big = pci.bars(function)
        pci.place(function, ports, 0xC000)
        pci.place(function, big, 0x1_2340_0000)
        assigned = assign(pci)
        assert assigned[function.address] == [
            memory._replace(address=0xE000_0000), ports._replace(address=0xC000), big._replace(address=0x1_2340_0000)
        ]  # fmt: skip
        others = [each for at, bars in assigned.items() if at != function.address for each in bars]
        assert not any(each.space is Space.IO and each.address < 0xC100 for each in others)  # QEMU's IDE
        assert assign(pci) == assigned

    play(check, TESTDEV, TESTDEV_QEMU)


def test_sizing_leaves_the_command_register_as_it_was(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        function = _testdev(pci)
        assign(pci)
        pci.enable(function, Command.IO | Command.MASTER)
        pci.bars(function)
        assert pci.command(function) == Command.IO | Command.MASTER
        pci.disable(function, Command.MASTER)
        assert pci.command(function) == Command.IO

    play(check, TESTDEV, TESTDEV_QEMU)


def test_addresses_that_cannot_be(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        function = _testdev(pci)
        memory, ports, _ = pci.bars(function)
        for bar, address in ((memory, 0xE000_0800), (ports, 0xC080), (ports, 0x1_0000), (memory, 1 << 32), (memory, -4096)):
            with pytest.raises(ValueError, match=f"expected a multiple of {bar.size:#x}"):
                pci.place(function, bar, address)

    play(check, TESTDEV, TESTDEV_QEMU)


def test_what_there_is_no_room_for_stays_without_an_address_and_others_get_theirs(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        function = _testdev(pci)
        memory, ports, big = assign(pci, range(0xC000, 0xC080), range(0xE000_0000, 0xE000_1000))[function.address]
        assert (memory.address, ports.address, big.address) == (0xE000_0000, 0, 0)
        assert pci.bars(function) == [memory, ports, big]
        memory, ports, big = assign(pci, range(0xC080, 0xC200), range(0xE000_0000, 0xE020_0000))[function.address]
        assert (memory.address, ports.address, big.address) == (0xE000_0000, 0xC100, 0xE010_0000)

    play(check, TESTDEV, TESTDEV_QEMU)


def test_what_is_behind_a_bridge_is_found_once_it_has_a_number_and_answers_through_its_windows(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        assert pci.find(0x1B36, 0x0005) == []
        assert number_buses(pci) == 3
        function = _testdev(pci)
        assert function.address == Address(1, 0, 0)
        memory, ports, big = assign(pci)[function.address]
        pci.enable(function)
        assert (_answers(io, ports), _answers(io, memory)) == (True, True)
        assert big.address
        bridge = pci.function(SECOND)
        assert bridge is not None
        assert bridge.is_bridge
        pci.disable(bridge, Command.IO)
        assert (_answers(io, ports), _answers(io, memory)) == (False, True)
        pci.enable(bridge, Command.IO)
        pci.write8(bridge, 0x1C, 0xF0)  # a window that begins behind its end
        pci.write16(bridge, 0x20, 0xFFF0)
        assert (_answers(io, ports), _answers(io, memory)) == (False, False)
        pci.write8(bridge, 0x19, 0)
        assert pci.find(0x1B36, 0x0005) == []

    play(check, BRIDGE, BRIDGE_QEMU)


def test_bridges_that_lead_to_the_same_bus_or_back_are_no_loop(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        number_buses(pci)
        expected = [each.address for each in pci.scan()]
        for behind in (1, 0):
            pci.write8(Address(0, 3, 0), 0x19, behind)
            found = [each.address for each in pci.scan()]
            # In QEMU this bridge alone leads to bus 1 now, where nobody is.
            assert found == (expected if io.name == "portbus" else expected[:-1])
            assert list(assign(pci)) == found

    play(check, BRIDGE, BRIDGE_QEMU)


def test_capabilities_are_listed(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        bridge = pci.function(SECOND)
        host = pci.function(HOST)
        assert bridge is not None
        assert host is not None
        assert [each.name for each in pci.capabilities(bridge)] == ["MSI", "slot identification", "hot plug"]
        assert pci.capabilities(host) == []

    play(check, BRIDGE, BRIDGE_QEMU)


def test_interrupt_lines_are_noted(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        bridge = pci.function(SECOND)
        assert bridge is not None
        assert pci.interrupt_pin(bridge) == 1
        piix3 = Piix3(pci)
        assert piix3.route_of(bridge) == 1
        assert piix3.line_of(bridge) is None
        piix3.route(bridge, 11)
        assert (pci.interrupt_line(bridge), piix3.line_of(bridge)) == (11, 11)
        assert [pci.read8(ISA, each) for each in range(0x60, 0x64)] == [0x80, 11, 0x80, 0x80]
        for wrong in (0, 1, 2, 8, 13, 16):
            with pytest.raises(ValueError, match="PCI interrupts can be 3, 4"):
                piix3.route(bridge, wrong)

    play(check, BRIDGE, BRIDGE_QEMU)


def test_a_function_without_a_pin_cannot_be_routed(play: Play) -> None:
    async def check(io: IoSpace) -> None:
        pci = Pci(io)
        with pytest.raises(ValueError, match="makes no interrupts"):
            Piix3(pci).route(_testdev(pci), 11)

    play(check, TESTDEV, TESTDEV_QEMU)


# From here on only on the port bus: these are faults, and devices that lie.


@pytest.mark.parametrize("fault", [Fault.MISSING, Fault.ZEROS, Fault.LOSE])
def test_without_an_address_register_there_is_no_pci(fault: Fault) -> None:
    bus = PortBus()
    bus.plug("pci")
    bus.fault(fault, range(0xCF8, 0xCFC))
    with pytest.raises(DeviceAbsentError, match="no configuration mechanism #1"):
        Pci(bus).scan()
    with pytest.raises(DeviceAbsentError):
        number_buses(Pci(bus))


@pytest.mark.parametrize("fault", [Fault.MISSING, Fault.ZEROS])
def test_a_bus_that_shows_nothing_is_empty(fault: Fault) -> None:
    bus = PortBus()
    bus.plug("pci")
    bus.fault(fault, range(0xCFC, 0xD00))
    assert Pci(bus).scan() == []
    with pytest.raises(DeviceAbsentError, match="no PIIX3"):
        Piix3(Pci(bus))


def test_a_list_of_capabilities_that_comes_back_is_an_error() -> None:
    bus = PortBus()
    pci_model = bus.plug("pci")
    bus.plug("pci_bridge")
    pci = Pci(bus)
    (bridge,) = pci.find(0x1B36, 0x0001)
    lib.bl_pci_poke(pci_model, 2, 0x41, 0x4C, 0)  # the last one's next is the first one
    with pytest.raises(DeviceError, match="leads to 0x4c"):
        pci.capabilities(bridge)
    lib.bl_pci_poke(pci_model, 2, 0x41, 0x10, 0)
    with pytest.raises(DeviceError, match="leads to 0x10"):
        pci.capabilities(bridge)


@pytest.mark.parametrize(
    ("offset", "value", "writable", "match"),
    [
        (0x10, 6, 0, "type 3 is reserved"),
        (0x24, 4, 0, "the last one, claims to have 64 bits"),
        (0x12, 0, 0x0F, "which is no size"),
        (0x0E, 5, 0, "a header of kind 0x5"),
    ],
)
def test_base_addresses_that_no_device_can_have_are_errors_of_that_one(offset: int, value: int, writable: int, match: str) -> None:
    bus = PortBus()
    pci_model = bus.plug("pci")
    bus.plug("pci_testdev")
    lib.bl_pci_poke(pci_model, 2, offset, value, writable)
    pci = Pci(bus)
    function = _testdev(pci)
    with pytest.raises(DeviceError, match=match):
        pci.bars(function)
    bus.plug("pci_testdev")
    assigned = assign(pci)
    assert function.address not in assigned
    assert all(bar.address for bar in assigned[Address(0, 3, 0)])


def test_a_base_address_that_does_not_take_what_is_written_is_an_error() -> None:
    bus = PortBus()
    bus.plug("pci")
    bus.plug("pci_testdev")
    pci = Pci(bus)
    function = _testdev(pci)
    bar = pci.bars(function)[0]
    bus.fault(Fault.LOSE, range(0xCFC, 0xD00))
    with pytest.raises(DeviceError, match="shows 0x0, not 0xe0000000 that was written"):
        pci.place(function, bar, 0xE000_0000)


def test_a_function_that_is_there_no_more_is_absent() -> None:
    bus = PortBus()
    bus.plug("pci")
    bus.plug("pci_testdev")
    pci = Pci(bus)
    function = _testdev(pci)
    bus.fault(Fault.MISSING, range(0xCFC, 0xD00))
    with pytest.raises(DeviceAbsentError, match=r"PCI 00:02\.0: nobody is there any more"):
        pci.bars(function)
    with pytest.raises(DeviceError, match="leads to 0xfc"):
        pci.capabilities(function)


def test_a_pin_that_there_is_not_is_an_error() -> None:
    bus = PortBus()
    lib.bl_pci_poke(bus.plug("pci"), 1, 0x3D, 5, 0)
    pci = Pci(bus)
    with pytest.raises(DeviceError, match="interrupt pin 5"):
        pci.interrupt_pin(pci.find(0x8086, 0x7000)[0])


@pytest.mark.parametrize("port", [0x0, 0xC00])
def test_what_was_below_a_base_address_answers_again_when_it_has_moved_away(port: int) -> None:
    bus = PortBus()
    bus.plug("pci")
    bus.plug("pit")
    bus.plug("pci_testdev")
    pci = Pci(bus)
    function = _testdev(pci)
    pci.place(function, pci.bars(function)[1], 0x100)
    pci.place(function, pci.bars(function)[1], port)
    pci.enable(function)
    assert pci.find(0x1B36, 0x0005) == [function]  # over the configuration ports: the host bridge comes first
    assert bus.inb(0xC10) == (0 if port else 0xFF)
    bus.outb(0x61, 3)
    pci.disable(function)
    assert bus.inb(0xC10) == 0xFF
    assert bus.inb(0x61) & 3 == 3


def test_names_of_codes() -> None:
    assert class_name(1, 1) == "mass storage: IDE"
    assert class_name(1, 0x80) == "mass storage: other"
    assert class_name(1, 0x70) == "mass storage: subclass 0x70"
    assert class_name(0x77, 1) == "class 0x77: subclass 0x01"
    assert (capability_name(0x11), capability_name(0x99)) == ("MSI-X", "capability 0x99")
