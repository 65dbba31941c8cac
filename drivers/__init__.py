# Drivers: port I/O from actors.
#
#   space.py         the I/O space that drivers are written against; who plays the machine: portbus.py, qemu.py, io_server.py, machine.py
#   views.py         an actor's exclusions as C asks them before each access;  narrowed.py  a space with one device in it
#   interrupts.py    interrupts as messages;  memory.py  memory for transfers;  errors.py
#   devices/         a driver a device: libraries over a space
#   models/          the port bus's devices, each in C, with what the host may do to it;  c/  the bus itself
#   servers/         devices as processes: found, supervised, handed out
#   services/        what is made of them
#
# Drivers and models are imported by their modules: `from drivers.devices.pit import Pit`.

from drivers.errors import DeviceAbsentError, DeviceError, DeviceTimeoutError, MachineStoppedError
from drivers.interrupts import Interrupt
from drivers.io_server import IoServer
from drivers.machine import MachineSpace
from drivers.memory import Memory
from drivers.narrowed import Narrowed
from drivers.portbus import Fault, PortBus
from drivers.qemu import Qemu
from drivers.servers.device import Device, DeviceBack, DeviceData, DeviceInfo, DeviceLost, Kind
from drivers.servers.finding import find_devices
from drivers.servers.grants import DeviceBusyError, DeviceLostError, GrantAsked, GrantRevokedError, GrantTaken
from drivers.servers.manager import DeviceManager
from drivers.servers.opening import Handle, list_devices, open_device, revoke_device
from drivers.services.areas import AreaService, list_areas, open_area
from drivers.services.console import Console, SerialConsole, VgaConsole
from drivers.services.editing import Action
from drivers.services.host import start_console_machine
from drivers.space import IoSpace, Stopped

__all__ = [
    "Action",
    "AreaService",
    "Console",
    "Device",
    "DeviceAbsentError",
    "DeviceBack",
    "DeviceBusyError",
    "DeviceData",
    "DeviceError",
    "DeviceInfo",
    "DeviceLost",
    "DeviceLostError",
    "DeviceManager",
    "DeviceTimeoutError",
    "Fault",
    "GrantAsked",
    "GrantRevokedError",
    "GrantTaken",
    "Handle",
    "Interrupt",
    "IoServer",
    "IoSpace",
    "Kind",
    "MachineSpace",
    "MachineStoppedError",
    "Memory",
    "Narrowed",
    "PortBus",
    "Qemu",
    "SerialConsole",
    "Stopped",
    "VgaConsole",
    "find_devices",
    "list_areas",
    "list_devices",
    "open_area",
    "open_device",
    "revoke_device",
    "start_console_machine",
]
