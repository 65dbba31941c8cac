"""A machine of QEMU's in which a core can die: QEMU's debugger stub sends it where it halts for ever."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending
from boot.engines.qemu import QemuMachine
from boot.guest.layout import MB_SLAVE_TRACED

GRAVE, BURIED = 0x5000, b"\xfa\xf4\xeb\xfc"  # cli; hlt; jmp back: the same in all modes of the processor
IP, CS = 16, 18  # registers, as QEMU counts them (target/i386/gdbstub.c)
REAL = (0x0000, 0xF000)  # segments in 16-bit mode: ours, the BIOS's
FLAT = 0x0008  # SeaBIOS's selector in 32-bit mode, with base 0 (SEG32_MODE32_CS); that of 16-bit code there has base 0xF0000
LIMIT = 20.0


class MortalQemu(QemuMachine):
    """Core 1 dies when the slaves' trace has so many records: an odd number is within a read."""

    def __init__(self, records: int, **options: Any) -> None:
        super().__init__(**options)
        self.records = records
        self.failure: BaseException | None = None

    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        with tempfile.TemporaryDirectory() as folder:
            self._path = str(Path(folder, "stub"))
            memory.map[GRAVE : GRAVE + len(BURIED)] = BURIED
            over = threading.Event()
            killer = threading.Thread(target=self._kill, args=(memory, over))
            killer.start()
            try:
                return super()._run(medium, memory, stopping)
            finally:
                over.set()
                killer.join()

    def _command(self, medium: int, memory: GuestMemory, serial: socket.socket) -> list[str]:
        stub = ["-chardev", f"socket,id=stub,path={self._path},server=on,wait=off", "-gdb", "chardev:stub"]
        return [*super()._command(medium, memory, serial), *stub]

    def _kill(self, memory: GuestMemory, over: threading.Event) -> None:
        try:
            while int.from_bytes(memory.map[MB_SLAVE_TRACED : MB_SLAVE_TRACED + 4], "little") < self.records:
                if over.is_set():
                    return
                time.sleep(0)
            while not self._bury():
                if over.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def _bury(self) -> bool:
        """False if the core was just where it cannot be sent there: in the BIOS's way from one mode to another."""
        with Stub(self._path) as stub:
            stub.ask("Hg2")  # core 1: they are counted from 1
            segment = int.from_bytes(bytes.fromhex(stub.ask(f"p{CS:x}")[:4]), "little")
            can_be_sent = segment in (*REAL, FLAT)
            if can_be_sent:
                if segment in REAL:
                    stub.ask(f"P{CS:x}=00000000")
                stub.ask(f"P{IP:x}={GRAVE.to_bytes(8, 'little').hex()}")
            stub.ask("D")
            return can_be_sent


class Stub:
    """GDB's remote serial protocol. The machine stands still from the connection until `D`."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")
        self._answer()  # that it has stopped
        self.ask("qXfer:features:read:target.xml:0,ff")  # without it single registers are refused

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str) -> str:
        """Its answer."""
        self._socket.sendall(f"${command}#{sum(command.encode()) % 256:02x}".encode())
        text = self._answer()
        if text.startswith("E"):
            raise AssertionError(f"QEMU refuses {command}: {text}")
        return text

    def _answer(self) -> str:
        answer = b""
        while not answer.startswith(b"$"):
            answer = self._file.read(1)
        while not answer.endswith(b"#"):
            answer += self._file.read(1)
        self._file.read(2)
        self._socket.sendall(b"+")
        return answer[1:-1].decode()
