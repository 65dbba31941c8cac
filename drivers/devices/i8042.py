"""i8042 keyboard controller: two PS/2 ports, for a keyboard and a mouse.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" (1988).

Covers: self-test, tests of the interfaces, configuration, both ports on and off, whether there is a second one, commands to a device with
its acknowledgement, what devices say, interrupts 1 and 12, the reset of the machine. Not: the gate of A20, passwords, active multiplexing.

Theory of operation. There is one output buffer of one byte, for both devices and for the controller's own answers, and a bit that tells the
devices apart. So whoever reads for one of them takes bytes of the other, which are kept here: one object for both devices, in one process.
The controller's own answers look as the keyboard's; both ports are off while one is waited for.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError
from drivers.space import IoSpace

BASE: Final = 0x60
COMMAND_PORT: Final = 4  # from the base
READ_CONFIG, WRITE_CONFIG = 0x20, 0x60
DISABLE_AUX, ENABLE_AUX, TEST_AUX = 0xA7, 0xA8, 0xA9
SELF_TEST, TEST_KEYBOARD, DISABLE_KEYBOARD, ENABLE_KEYBOARD = 0xAA, 0xAB, 0xAD, 0xAE
TO_AUX, PULSE_RESET = 0xD4, 0xFE
HEALTHY: Final = 0x55
ACK, RESEND = 0xFA, 0xFE

READY_TIMEOUT: Final = 0.25  # seconds for the controller to take a byte
ANSWER_TIMEOUT: Final = 1.0  # for its own answers; the self-test is the slowest
ACK_TIMEOUT: Final = 0.25  # for a device; it has 20 ms by the reference, and some take longer
TRIES: Final = 3
MOST_AT_ONCE: Final = 64  # bytes; a buffer that does not become empty is broken
MOST_KEPT: Final = 256  # bytes of a device that nobody reads


class Status(IntFlag):
    """Of the controller."""

    OUTPUT_FULL = 0x01
    """There is a byte to be read."""
    INPUT_FULL = 0x02
    """It has not taken the last byte yet."""
    SYSTEM = 0x04
    COMMAND = 0x08
    UNLOCKED = 0x10
    AUX = 0x20
    """The byte to be read is the second port's."""
    TIMEOUT = 0x40
    """The device did not answer."""
    PARITY = 0x80


class Config(IntFlag):
    """The configuration byte."""

    INTERRUPT_1 = 0x01
    """The first port's bytes are interrupt 1."""
    INTERRUPT_2 = 0x02
    """The second port's are interrupt 12."""
    SYSTEM = 0x04
    DISABLE_1 = 0x10
    DISABLE_2 = 0x20
    TRANSLATE = 0x40
    """Scan codes of set 2 are turned into those of set 1."""


class Port(IntEnum):
    """Of the two."""

    KEYBOARD = 0
    AUX = 1
    """The mouse's."""


INTERRUPTS: Final = {Port.KEYBOARD: Config.INTERRUPT_1, Port.AUX: Config.INTERRUPT_2}
DISABLES: Final = {Port.KEYBOARD: Config.DISABLE_1, Port.AUX: Config.DISABLE_2}
LINES: Final = {Port.KEYBOARD: 1, Port.AUX: 12}
"""The interrupt lines."""
TESTS: Final = {Port.KEYBOARD: TEST_KEYBOARD, Port.AUX: TEST_AUX}
ENABLE: Final = {Port.KEYBOARD: ENABLE_KEYBOARD, Port.AUX: ENABLE_AUX}
DISABLE: Final = {Port.KEYBOARD: DISABLE_KEYBOARD, Port.AUX: DISABLE_AUX}
WRONG: Final = {
    1: "the clock line is stuck low",
    2: "the clock line is stuck high",
    3: "the data line is stuck low",
    4: "the data line is stuck high",
}


class Arrived(NamedTuple):
    """A byte from the output buffer."""

    port: Port
    byte: int
    status: Status


class I8042:
    """The controller. Both devices share one such object.

    `start` comes first, and again after a call was cancelled or has timed out, since a byte may still be on its way.

    Of a device that nobody reads 256 bytes are kept; what comes after them is lost, and counted in `lost`.
    """

    def __init__(self, io: IoSpace, base: int = BASE) -> None:
        self.io = io
        self.base = base
        self.translates = False
        """Are scan codes of set 2 turned into those of set 1?"""
        self.lost = 0
        self._enabled: set[Port] = set()
        self._kept: dict[Port, deque[int]] = {port: deque() for port in Port}

    # --- the controller ---

    def status(self) -> Status:
        """Raises: DeviceAbsentError: all ones."""
        found = self.io.inb(self.base + COMMAND_PORT)
        if found == 0xFF:
            raise DeviceAbsentError(f"no keyboard controller at {self.base + COMMAND_PORT:#x}: its status reads as 0xff")
        return Status(found)

    async def start(self, *, translate: bool = True, interrupts: bool = True) -> tuple[Port, ...]:
        """Test the controller, configure it, and switch its ports on: those that there are, and that work, which are returned.

        What devices have said before is lost.

        Args:
            translate: scan codes of set 2 into those of set 1, as PCs always did.
            interrupts: of both ports.

        Raises:
            DeviceAbsentError: nobody answers.
            DeviceTimeoutError: it takes no command, or does not answer.
            DeviceError: its self-test fails, or its output buffer does not become empty.
        """
        self.status()
        self._enabled = set()
        await self._quiet()
        for kept in self._kept.values():
            kept.clear()
        await self.self_test()
        off = await self._ask_now(READ_CONFIG)
        await self._write_command(ENABLE_AUX)
        has_second = bool(off & ~await self._ask_now(READ_CONFIG) & Config.DISABLE_2)  # the bit goes with the port, if there is one
        await self._quiet()
        working = [port for port in (Port if has_second else (Port.KEYBOARD,)) if await self._test(port) == 0]
        config = Config.SYSTEM | (Config.TRANSLATE if translate else Config(0))
        for port in Port:
            config |= DISABLES[port] if port not in working else INTERRUPTS[port] if interrupts else Config(0)
        await self.write_config(config)
        return tuple(working)

    async def self_test(self) -> None:
        """Raises: DeviceError: it finds itself broken; DeviceTimeoutError. The configuration may be another one after it."""
        await self._quiet()
        if (answer := await self._ask_now(SELF_TEST)) != HEALTHY:
            raise DeviceError(f"the keyboard controller's self-test answers {answer:#04x}: expected {HEALTHY:#04x}")

    async def test_port(self, port: Port) -> None:
        """Test the lines of a port. Raises: DeviceError: says which one is stuck; DeviceTimeoutError: there is no such port."""
        if found := await self._test(port):
            raise DeviceError(f"the keyboard controller's port {port.name}: {WRONG.get(found, f'its test answers {found:#04x}')}")

    async def _test(self, port: Port) -> int:
        return await self._ask(TESTS[port])

    async def read_config(self) -> Config:
        """How it is configured. Bits that have no name here stay in it."""
        found = Config(await self._ask(READ_CONFIG))
        for port in Port:  # both were off for the question
            found = found & ~DISABLES[port] if port in self._enabled else found | DISABLES[port]
        return found

    async def write_config(self, config: Config) -> None:
        """Configure it, the ports, too."""
        await self._write_command(WRITE_CONFIG)
        await self._write_data(int(config))
        self.translates = bool(config & Config.TRANSLATE)
        self._enabled = {port for port in Port if not config & DISABLES[port]}

    async def enable(self, port: Port) -> None:
        """Let a port's device send."""
        await self._write_command(ENABLE[port])
        self._enabled.add(port)

    async def disable(self, port: Port) -> None:
        """Hold a port's clock: its device keeps what it has to say. A command to it switches the port on again."""
        await self._write_command(DISABLE[port])
        self._enabled.discard(port)

    async def reset_machine(self) -> None:
        """Pulse the processor's reset line: this machine is no more."""
        await self._write_command(PULSE_RESET)

    async def _quiet(self) -> None:
        """No device sends, and the output buffer is empty."""
        for port in Port:
            await self._write_command(DISABLE[port])
        self.poll()

    async def _ask(self, command: int) -> int:
        await self._quiet()
        answer = await self._ask_now(command)
        for port in sorted(self._enabled):
            await self._write_command(ENABLE[port])
        return answer

    async def _ask_now(self, command: int) -> int:
        await self._write_command(command)
        arrived = await self.io.until(self._fetch, ANSWER_TIMEOUT, f"the keyboard controller's answer to {command:#04x}")
        assert arrived is not None  # until returns what is true
        return arrived.byte

    async def _write_command(self, command: int) -> None:
        await self._until_taken(f"before command {command:#04x}")
        self.io.outb(self.base + COMMAND_PORT, command)

    async def _write_data(self, byte: int) -> None:
        await self._until_taken(f"before byte {byte:#04x}")
        self.io.outb(self.base, byte)

    async def _until_taken(self, when: str) -> None:
        await self.io.until(lambda: not self.status() & Status.INPUT_FULL, READY_TIMEOUT, f"the keyboard controller's input buffer {when}")

    # --- what devices say ---

    def poll(self) -> None:
        """Take all that is in the output buffer, for `take`. Raises: DeviceError: it does not become empty."""
        for _ in range(MOST_AT_ONCE):
            arrived = self._fetch()
            if arrived is None:
                return
            self._keep(arrived)
        raise DeviceError(f"the keyboard controller's output buffer is still full after {MOST_AT_ONCE} bytes")

    def take(self, port: Port) -> int | None:
        """The next byte that a device has said; None: nothing is there."""
        kept = self._kept[port]
        if not kept:
            self.poll()
        return kept.popleft() if kept else None

    def _keep(self, arrived: Arrived) -> None:
        kept = self._kept[arrived.port]
        if len(kept) < MOST_KEPT:
            kept.append(arrived.byte)
        else:
            self.lost += 1

    def _fetch(self) -> Arrived | None:
        status = self.status()
        if not status & Status.OUTPUT_FULL:
            return None
        return Arrived(Port.AUX if status & Status.AUX else Port.KEYBOARD, self.io.inb(self.base), status)

    # --- what devices are told ---

    async def command(self, port: Port, *values: int, answers: int = 0, timeout: float = ACK_TIMEOUT) -> bytes:
        """Send a device a command and its parameters, and return so many bytes of answer. A port that is off is switched on by that.

        Each byte is acknowledged, and sent again if the device asks for it. What it has said before stays for `take`: its port is held
        until it gets the first byte, for what a mouse reports may look as an acknowledgement. Of more bytes than one the device must be
        silent meanwhile; `Mouse` sees to that.

        Raises:
            DeviceAbsentError: nothing hangs on the port, says the controller.
            DeviceTimeoutError: the device does not answer; within `timeout` seconds for each byte of the answer.
            DeviceError: it asks for a byte again and again.
        """
        await self.disable(port)
        await self._until_taken("before a command to a device")
        self.poll()
        self._enabled.add(port)
        for value in values:
            await self._deliver(port, value)
        what = f"the answer to {' '.join(f'{value:#04x}' for value in values)} from port {port.name}"
        return bytes([(await self._next(port, timeout, what)).byte for _ in range(answers)])

    async def _deliver(self, port: Port, value: int) -> None:
        for _ in range(TRIES):
            if port is Port.AUX:
                await self._write_command(TO_AUX)
            await self._write_data(value)
            if await self._is_acknowledged(port, value):
                return
        raise DeviceError(f"the device on port {port.name} wants {value:#04x} again after {TRIES} times")

    async def _is_acknowledged(self, port: Port, value: int) -> bool:
        for _ in range(MOST_AT_ONCE):
            arrived = await self._next(port, ACK_TIMEOUT, f"the acknowledgement of {value:#04x} from port {port.name}")
            if arrived.status & Status.TIMEOUT:
                raise DeviceAbsentError(f"no device on port {port.name}: the controller says {arrived.status!r}")
            if arrived.byte in (ACK, RESEND):
                return arrived.byte == ACK
            self._keep(arrived)  # it was on its way
        raise DeviceError(f"the device on port {port.name} says {MOST_AT_ONCE} bytes, and none is an acknowledgement of {value:#04x}")

    async def _next(self, port: Port, timeout: float, what: str) -> Arrived:
        """The next byte of a device that nobody has taken; the other one's are kept."""

        def found() -> Arrived | None:
            for _ in range(MOST_AT_ONCE):
                arrived = self._fetch()
                if arrived is None or arrived.port is port:
                    return arrived
                self._keep(arrived)
            return None

        arrived = await self.io.until(found, timeout, what)
        assert arrived is not None  # until returns what is true
        return arrived

    async def self_test_of(self, port: Port, expected: bytes, timeout: float) -> None:
        """Reset a device, and wait for what it says when all is well.

        Raises: DeviceTimeoutError: it says nothing; DeviceError: something else; as `command`.
        """
        self._kept[port].clear()
        try:
            found = await self.command(port, 0xFF, answers=len(expected), timeout=timeout)
        except DeviceTimeoutError as error:
            raise DeviceTimeoutError(f"reset of port {port.name}: {error}") from None
        if found != expected:
            raise DeviceError(f"the device on port {port.name} says {found.hex(' ')} after its reset: expected {expected.hex(' ')}")
