"""A machine of QEMU's, with SeaBIOS: nothing of it is ours, so what boots here boots as it would on a PC.

Memory is a file that QEMU shares with us, COM1 and the monitor are sockets that it inherits. What is set here, and why:

- `thread=single`: with a thread for each core the primary that polls fights with the slave for the lock of the devices (4 MB from IDE took
  7 to 15 s then, and 0.7 s so).
- `smm=off`: SeaBIOS calls its drivers by an SMI else, which on q35 the slave takes at the default SMBASE, where no handler is, and on pc
  only the first core (SeaBIOS 1.16.2). IDE on pc never needs it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum
from typing import Final

from boot.engines.disk import NO_FAULTS, FaultPlan
from boot.engines.machine import MEGABYTE, BootMachine
from boot.engines.memory import GuestMemory
from boot.engines.outcome import Ending, How
from boot.errors import EngineError, EngineUnavailableError
from boot.guest.layout import EXIT_PORT

QEMU: Final = "qemu-system-x86_64"
LOOK: Final = 0.02  # seconds between two looks whether it is to stop
FOR_EVER: Final = 0  # in `_inject`


class Device(Enum):
    """What the medium is behind: the machine, and what is plugged in."""

    AHCI = ("q35", ("ide-hd,drive=medium,bus=ide.0",))
    IDE = ("pc", ("ide-hd,drive=medium",))
    VIRTIO = ("q35", ("virtio-blk-pci,drive=medium",))
    NVME = ("q35", ("nvme,drive=medium,serial=boot",))
    USB = ("q35", ("qemu-xhci", "usb-storage,drive=medium"))


class QemuMachine(BootMachine):
    """See `BootMachine`.

    Args:
        faults: `bad` and `flaky` only, which QEMU's own block layer injects: the rest is not to be had from outside.
    """

    name = "qemu"

    def __init__(
        self, cores: int = 2, memory: int = 64, timeout: float = 30.0, device: Device = Device.AHCI, faults: FaultPlan = NO_FAULTS
    ) -> None:
        super().__init__(cores, memory, timeout)
        if faults != FaultPlan(bad=faults.bad, flaky=faults.flaky):
            raise ValueError(f"faults is {faults!r}, expected `bad` and `flaky` alone: QEMU has no others")
        self.device = device
        self.faults = faults

    def _run(self, medium: int, memory: GuestMemory, stopping: threading.Event) -> Ending:
        if shutil.which(QEMU) is None:
            raise EngineUnavailableError(f"{QEMU} is not on the path: apt-get install qemu-system-x86 seabios")
        deadline = time.monotonic() + self.timeout
        with ExitStack() as undo:
            said = undo.enter_context(tempfile.TemporaryFile())
            serial, theirs = socket.socketpair()
            undo.callback(serial.close)
            with theirs:
                process = subprocess.Popen(
                    self._command(medium, memory, theirs),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    pass_fds=[medium, memory.descriptor, theirs.fileno()],
                    start_new_session=True,
                )
            undo.callback(process.wait)
            undo.callback(process.kill)
            text = bytearray()
            how = _listen(serial, text, deadline, stopping)
            if how is not How.ENDED:
                return Ending(how, serial=bytes(text))
            try:
                status = process.wait(max(deadline - time.monotonic(), LOOK))
            except subprocess.TimeoutExpired:
                return Ending(How.TIMEOUT, serial=bytes(text))
            if status & 1 and status > 1:  # isa-debug-exit: twice the value, and one
                return Ending(How.ENDED, status >> 1, bytes(text))
            if status == 0:  # by -no-reboot
                return Ending(How.ENDED, serial=bytes(text), why="the machine was reset, as by an exception that could not be handled")
            said.seek(0)
            raise EngineError(f"QEMU has ended with {status}: {said.read().decode(errors='replace').strip()}")

    def _command(self, medium: int, memory: GuestMemory, serial: socket.socket) -> list[str]:
        machine, devices = self.device.value
        drive = {
            "if": "none",
            "id": "medium",
            "format": "raw",
            "snapshot": "on",  # a disk that may be written, as drives want; what is written is dropped
            "file.driver": "blkdebug",
            "file.image.driver": "file",
            "file.image.filename": f"/proc/self/fd/{medium}",
            **_inject(self.faults),
        }
        return [
            *("setpriv", "--pdeathsig=KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", "tcg,thread=single", "-machine", f"{machine},smm=off,memory-backend=ram", "-smp", str(self.cores)),
            *("-m", f"{memory.size // MEGABYTE}M"),
            *("-object", f"memory-backend-file,id=ram,size={memory.size},mem-path=/proc/self/fd/{memory.descriptor},share=on"),
            *("-chardev", f"socket,id=com1,fd={serial.fileno()}", "-serial", "chardev:com1"),
            *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"),
            *("-drive", ",".join(f"{name}={value}" for name, value in drive.items())),
            *(word for device in devices for word in ("-device", device)),
        ]


def _inject(faults: FaultPlan) -> Mapping[str, str]:
    """Options of blkdebug (QEMU, docs/devel/testing/blkdebug.rst)."""
    errors = [(sector, FOR_EVER) for sector in sorted(faults.bad)]
    errors += [(sector, times) for sector, times in sorted(faults.flaky.items()) if times > 0]
    options: dict[str, str] = {}
    for sector, times in errors:
        for _ in range(times or 1):
            rule = f"file.inject-error.{len(options) // 4}"
            options |= {
                f"{rule}.event": "read_aio",
                f"{rule}.sector": str(sector),
                f"{rule}.errno": "5",
                f"{rule}.once": "off" if times == FOR_EVER else "on",
            }
    return options


def _listen(serial: socket.socket, text: bytearray, deadline: float, stopping: threading.Event) -> How:
    """What is said on COM1, until QEMU ends."""
    serial.settimeout(LOOK)
    while True:
        if stopping.is_set():
            return How.STOPPED
        if time.monotonic() > deadline:
            return How.TIMEOUT
        try:
            part = serial.recv(65536)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return How.ENDED
        if not part:
            return How.ENDED
        text += part
