"""One core of a machine with Unicorn: the processor, its local APIC, and the ports that it sees.

Everything is the guest's own code, the change to 64-bit mode included, but for three things. The BIOS is ours (`bios`): Unicorn gives every
INT to us, and never goes through the vector table. So it does with exceptions, and an IDT is not looked at: what the guest's stubs would
say is said by the board. And the local APIC has no more than an id and a command register.

Of a Unicorn that began in 16-bit mode only the low 32 bits of registers can be read, also in 64-bit mode; so CR2 is read
by code for the core (`TELL_CR2`). Each INIT makes a new one: an
instance keeps the code that it has translated, whatever another core writes there.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Any, Final

os.environ["UC_IGNORE_REG_BREAK"] = "1"  # it warns of such registers, of which we read none

from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_HOOK_INSN, UC_HOOK_INTR, UC_MODE_16, UC_PROT_ALL, Uc, UcError
from unicorn import x86_const as x86

from boot.engines.bios import Bios
from boot.engines.bus import FIRST_BOOT, Bus, CoreDiedError
from boot.engines.firmware import LAPIC, TIMER_PORT
from boot.engines.memory import GuestMemory
from boot.guest.layout import EXIT_PORT, H_IDLE, STAGE2

LAPIC_ID, LAPIC_COMMAND, LAPIC_TARGET = 0x20, 0x300, 0x310
COM1, COM1_STATUS, COM1_EMPTY = 0x3F8, 0x3FD, 0x20
PROTECTED: Final = 1  # CR0.PE
SCRATCH: Final = 0x500  # where neither the BIOS nor the image has anything
TELL_CR2: Final = b"\x0f\x20\xd0\x48\x89\x04\x25" + struct.pack("<I", SCRATCH)  # mov rax, cr2; mov [SCRATCH], rax


class Core:
    """A core after INIT. `start` is where it begins, by segment; `run` lasts until it stops.

    Args:
        tells_idle: whether the bus is told each time that the slave looks for a request.
    """

    def __init__(self, number: int, start: int, memory: GuestMemory, bus: Bus, tells_idle: bool = False) -> None:
        self.number = number
        self.uc: Any = Uc(UC_ARCH_X86, UC_MODE_16)
        self._bus = bus
        self._memory = memory
        self._target = 0
        self._exception: tuple[int, int] | None = None
        self._bios = Bios(number, memory, bus)
        self.start = start
        uc = self.uc
        uc.mem_map_ptr(0, memory.size, UC_PROT_ALL, memory.address())
        uc.mmio_map(LAPIC, 0x1000, self._on_load, None, self._on_store, None)
        uc.hook_add(UC_HOOK_INSN, self._on_in, None, 1, 0, x86.UC_X86_INS_IN)
        uc.hook_add(UC_HOOK_INSN, self._on_out, None, 1, 0, x86.UC_X86_INS_OUT)
        uc.hook_add(UC_HOOK_INSN, self._on_cpuid, None, 1, 0, x86.UC_X86_INS_CPUID)
        uc.hook_add(UC_HOOK_INTR, self._on_interrupt)
        if tells_idle:
            idle = int.from_bytes(memory.read(STAGE2 + H_IDLE, 4), "little")
            uc.hook_add(UC_HOOK_CODE, self._on_idle, None, idle, idle)
        if start != FIRST_BOOT:
            uc.reg_write(x86.UC_X86_REG_CS, start >> 4)
        uc.reg_write(x86.UC_X86_REG_DL, 0x80)  # the first hard disk; a core that is called does not look

    def run(self) -> str:
        """Until it halts, is stopped, or dies; why, if Unicorn could not go on, else nothing."""
        try:
            return self._emulate()
        except CoreDiedError:
            return ""

    def step(self, count: int) -> str:
        """So many instructions, or fewer if it stops; as `run`. Raises: CoreDiedError."""
        why = self._emulate(count)
        # Unicorn goes on at CS * 16 + EIP, also in 64-bit mode, and with 16 bits of EIP: so code is below 64 KiB.
        self.start = self.uc.reg_read(x86.UC_X86_REG_CS) * 16 + self.uc.reg_read(x86.UC_X86_REG_EIP)
        return why

    def _emulate(self, count: int = 0) -> str:
        try:
            self.uc.emu_start(self.start, 0, count=count)
        except UcError as error:
            return f"{error} at {self.uc.reg_read(x86.UC_X86_REG_EIP):#x}"
        if self._exception is not None:
            self._bus.fault(self.number, *self._exception, self._cr2())
        return ""

    def _cr2(self) -> int:
        if not self.uc.reg_read(x86.UC_X86_REG_CR0) & PROTECTED:
            return 0
        memory = self._memory.map
        memory[SCRATCH : SCRATCH + 8] = struct.pack("<Q", self.uc.reg_read(x86.UC_X86_REG_CR2))  # if the code meets an exception, too
        memory[SCRATCH + 8 : SCRATCH + 8 + len(TELL_CR2)] = TELL_CR2
        with suppress(UcError):
            self.uc.emu_start(self.uc.reg_read(x86.UC_X86_REG_CS) * 16 + SCRATCH + 8, 0, count=2)
        return int.from_bytes(memory[SCRATCH : SCRATCH + 8], "little")

    def stop(self) -> None:
        """From another thread, perhaps before it has begun: then to be repeated."""
        self.uc.emu_stop()

    def _on_load(self, uc: Any, offset: int, size: int, data: Any) -> int:
        return self.number << 24 if offset == LAPIC_ID else 0

    def _on_store(self, uc: Any, offset: int, size: int, value: int, data: Any) -> None:
        if offset == LAPIC_TARGET:
            self._target = value >> 24
        elif offset == LAPIC_COMMAND:
            self._bus.command(self.number, self._target, value)

    def _on_in(self, uc: Any, port: int, size: int, data: Any) -> int:
        if port == TIMER_PORT:
            os.sched_yield()  # it waits, and perhaps for another core, which needs a processor
            return self._bus.ticks()
        return COM1_EMPTY if port == COM1_STATUS else 0

    def _on_out(self, uc: Any, port: int, size: int, value: int, data: Any) -> None:
        if port == COM1:
            self._bus.say(self.number, value)
        elif port == EXIT_PORT:
            self._bus.finish(self.number, value)
            uc.emu_stop()

    def _on_cpuid(self, uc: Any, data: Any) -> int:
        if uc.reg_read(x86.UC_X86_REG_EAX) != 1:
            return 0
        uc.reg_write(x86.UC_X86_REG_EBX, self.number << 24)
        return 1

    def _on_interrupt(self, uc: Any, vector: int, data: Any) -> None:
        if uc.reg_read(x86.UC_X86_REG_CR0) & PROTECTED or not self._bios.call(uc, vector):
            self._exception = vector, uc.reg_read(x86.UC_X86_REG_EIP)
            uc.emu_stop()

    def _on_idle(self, uc: Any, address: int, size: int, data: Any) -> None:
        self._bus.idle(self.number)
