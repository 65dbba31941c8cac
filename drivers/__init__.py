# Drivers: port I/O from actors.
#
#   space.py         the I/O space that drivers are written against; who plays the machine: portbus.py, qemu.py, io_server.py, machine.py
#   views.py         an actor's exclusions as C asks them before each access;  interrupts.py  interrupts as messages;  errors.py
#   devices/         a driver a device
#   models/          the port bus's devices, each in C, with what the host may do to it;  c/  the bus itself

from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError, MachineStoppedError
from drivers.interrupts import Interrupt
from drivers.io_server import IoServer
from drivers.machine import MachineSpace
from drivers.portbus import Fault, PortBus
from drivers.qemu import Qemu
from drivers.space import IoSpace, Stopped

__all__ = [
    "DeviceAbsentError",
    "DeviceError",
    "DeviceTimeoutError",
    "Fault",
    "Interrupt",
    "IoServer",
    "IoSpace",
    "MachineSpace",
    "MachineStoppedError",
    "PortBus",
    "Qemu",
    "Stopped",
]
