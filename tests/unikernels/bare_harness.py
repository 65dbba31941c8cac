"""Programs in C on the bare machine, as QEMU plays it: built, started, and spoken to as a gateway does."""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from beamlike import pack, unpack
from cells.kinds import CellKind
from nodes import rings
from nodes.kinds import Kind
from nodes.rings import Written

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "unikernels" / "lib"
QEMU = shutil.which("qemu-system-x86_64")
GCC = shutil.which("gcc")

FLAGS = [
    "-DBL_SMALL", "-Os", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin", "-fno-ident", "-fvisibility=hidden",
    "-ffunction-sections", "-fdata-sections", "-fno-pic", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none", "-nostdlib", "-static", "-s", "-Wl,--gc-sections,--build-id=none,-z,noseparate-code,-z,norelro",
]  # fmt: skip
PC = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "pc,acpi=off,hpet=off", "-cpu", "max", "-accel", "tcg"]
END = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
SHARED = ["-device", "ivshmem-plain,memdev=shm"]
# QEMU's own little firmware starts a kernel in half the time that SeaBIOS takes.
FIRMWARES = ("qboot.rom", "bios-256k.bin")

BOOT = struct.Struct("=QIIQIIQIIQQ")  # uk_boot of plat.h
BOOT_MAGIC = int.from_bytes(b"BLUKBOOT", "little")
POLLS = 1  # UK_POLLS
CAPACITY = 64 * 1024
LONGEST = 1 << 20
PAIR = 3 * 4096 + 2 * CAPACITY
SIZE = 1 << PAIR.bit_length()  # of the device: a power of two, with a page after the rings
PATIENCE = 30.0  # seconds after which a machine hangs

Crash = tuple[int, int, int, int]
"""number, code, address, at"""


def build(image: Path, source: Path | str) -> Path:
    """The image of a program, which is a file or its text."""
    if isinstance(source, str):
        path = image.with_suffix(".c")
        path.write_text(source)
        source = path
    parts = [LIBRARY / name for name in ("start.S", "plat_bare.c", "mailbox.c", "inbox.c", "msgpack.c", "libc.c")]
    parts += [*sorted((LIBRARY / "drivers").glob("*.c")), ROOT / "nodes" / "ring.c"]
    layout = ["-DUK_BARE", "-T", LIBRARY / "bare.ld", "-I", LIBRARY, "-I", ROOT / "nodes"]
    subprocess.run([str(GCC), *FLAGS, *map(str, layout), "-o", str(image), str(source), *map(str, parts)], check=True)
    return image


class Machine:
    """A program that runs in a QEMU of its own, which ends with the block."""

    def __init__(
        self,
        image: Path,
        arguments: tuple[Any, ...] = (),
        *,
        polls: bool = False,
        firmware: str = FIRMWARES[0],
        devices: Sequence[str] = SHARED,
        options: Sequence[str] = (),
    ) -> None:
        self.memfd, self.end = rings.create(CAPACITY, LONGEST, SIZE)
        boot = BOOT.pack(BOOT_MAGIC, 1, POLLS if polls else 0, PAIR, LONGEST, 0, 0, 0, 0, 0, 0)
        os.pwrite(self.memfd, boot, SIZE - 4096)
        self.bell, theirs = socket.socketpair()
        self.bell.setblocking(False)
        self.log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - COM1; it is closed with the machine
        self.polls = polls
        command = [
            "setpriv",
            "--pdeathsig=KILL",
            str(QEMU),
            *PC,
            "-m",
            "32M",
            "-bios",
            firmware,
            "-kernel",
            str(image),
            "-serial",
            f"file:{self.log.name}",
        ]
        command += ["-chardev", f"socket,id=bell,fd={theirs.fileno()}", "-serial", "chardev:bell"]
        command += [
            "-object",
            f"memory-backend-file,id=shm,share=on,mem-path=/proc/self/fd/{self.memfd},size={SIZE}",
            *END,
            *devices,
            *options,
        ]
        self.begun = time.monotonic()
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno(), self.memfd])
        theirs.close()
        self.send(arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.end.close()
        self.bell.close()
        self.log.close()
        os.close(self.memfd)

    def ring(self) -> None:
        with suppress(BlockingIOError, BrokenPipeError):  # what it has not read yet wakes it as well; one that has ended, nothing does
            self.bell.send(b"\1")

    def park(self, timeout: float) -> None:
        """Wait until the bell is rung, or the machine has ended."""
        if not select.select([self.bell], [], [], timeout)[0]:
            raise TimeoutError(f"no ring within {timeout} s; the log: {self.log_text()!r}")
        if self.bell.recv(4096) == b"":
            raise EOFError(f"the machine has ended; the log: {self.log_text()!r}")

    def put(self, kind: int, to: int, from_: int, ref: int, payload: bytes) -> None:
        """Write a record of any length, and wait while there is no room."""
        written, at = self.end.write_part(kind, to, from_, ref, payload)
        while written is Written.FULL or at < len(payload):
            if written is Written.RING_BELL:
                self.ring()
            elif written is Written.FULL and not self.end.await_room():
                self.park(PATIENCE)
            written, at = self.end.write_part(kind, to, from_, ref, payload, at)
        if written is Written.RING_BELL:
            self.ring()

    def get(self, timeout: float = PATIENCE) -> rings.Record:
        """The next record."""
        late = time.monotonic() + timeout
        while True:
            record = self.end.read()
            if record is not None:
                return record
            if self.end.room_wanted():
                self.ring()
            if self.polls and time.monotonic() < late:
                continue
            if not self.end.sleep():
                if self.end.room_wanted():
                    self.ring()
                try:
                    self.park(max(0.0, late - time.monotonic()))
                except EOFError:
                    record = self.end.read()  # it may have written before it ended
                    if record is None:
                        raise
                    return record
            self.end.wake()

    def send(self, message: Any) -> None:
        self.put(Kind.SEND, 1, 0, 0, pack(message))

    def ask(self, ref: int, request: Any) -> None:
        self.put(Kind.CALL, 1, 0, ref, pack(request))

    def call(self, request: Any, ref: int = 1) -> Any:
        self.ask(ref, request)
        return self.answer(ref)

    def answer(self, ref: int) -> Any:
        kind, _, _, from_, got, payload = self.get()
        assert (kind, from_, got) == (Kind.REPLY, 1, ref)
        return unpack(payload)

    def ready(self) -> int:
        """Wait until it has begun. Returns how much room it has for a message."""
        kind, _, _, from_, room, payload = self.get()
        assert (kind, from_, payload) == (CellKind.READY, 1, b"")
        return room

    def ended(self) -> Any:
        """The reason that it ends with, which is the next that it says."""
        kind, _, _, _, _, payload = self.get()
        assert kind == CellKind.ENDED
        return unpack(payload)

    def status(self) -> int:
        """Wait for QEMU's end."""
        return self.process.wait(PATIENCE)

    def crash(self) -> Crash:
        number, code, address, at = BOOT.unpack(os.pread(self.memfd, BOOT.size, SIZE - 4096))[7:]
        return number, code, address, at

    def log_text(self) -> str:
        return Path(self.log.name).read_text()

    def processor_time(self) -> float:
        """Seconds, of all threads of QEMU."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
