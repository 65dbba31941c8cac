"""What goes wrong with devices."""

from __future__ import annotations


class DeviceError(Exception):
    """A device does not do what it should. The message names the device, what it showed, and what was expected."""


class DeviceAbsentError(DeviceError):
    """There is no such device where it was looked for."""


class DeviceTimeoutError(DeviceError, TimeoutError):
    """A device did not become ready in time. The device may be in the midst of something: reset it before the next use."""


class MachineStoppedError(DeviceError):
    """The machine that has the device is no more: it was switched off or reset, or its emulator has ended."""


class FileSystemError(DeviceError):
    """What is on a medium is no file system or partition table of the kind that was looked for, or a damaged one."""
