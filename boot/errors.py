"""What goes wrong with a boot: one class for each row of the table of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boot.engines.events import Event


class BootError(Exception):
    """A boot has failed. What is not known of it is None, or empty.

    Args:
        lba: the sector that it is about.
        core: the core that it is about.
        serial: what the machine said so far.
        events: what happened so far.
    """

    def __init__(
        self, message: str, *, lba: int | None = None, core: int | None = None, serial: str = "", events: tuple[Event, ...] = ()
    ) -> None:
        super().__init__(message)
        self.lba = lba
        self.core = core
        self.serial = serial
        self.events = events


class EngineUnavailableError(BootError):
    """What the engine needs is not installed. The message says how to install it."""


class EngineError(BootError):
    """The engine has failed, not what it ran."""


class BootTimeoutError(BootError, TimeoutError):
    """It was not done in time."""


class ImageError(BootError):
    """An image is not as it was built. The message says what was found, and what was expected."""


class MbrError(ImageError):
    """The first sector is damaged."""


class Stage2Error(ImageError):
    """Stage 2 is damaged, or cannot be read."""


class ManifestError(ImageError):
    """The manifest and its copy are damaged, make no sense, or cannot be read."""


class ChunkTableError(ImageError):
    """The table of the chunks' checksums is damaged."""


class PayloadCorruptError(ImageError):
    """A chunk of the payload is damaged, however often it is read."""


class ImageTruncatedError(ImageError):
    """The image ends too early."""


class BootReadError(BootError):
    """A sector cannot be read, however often it is tried."""


class ShortReadError(BootError):
    """A read brings less than was asked for, and no error, however often it is tried."""


class NoSlaveCoreError(BootError):
    """No core is left that could read: there is only one, or all others are dead."""


class PrimaryDiedError(BootError):
    """The primary core has ended, or has met an exception. The same image may boot the next time."""


class MemoryTooSmallError(BootError):
    """The machine has no memory where the payload is to go."""


class FirmwareError(BootError):
    """The firmware lacks what is needed."""


class BundleError(BootError):
    """What was booted is no bundle, or a damaged one."""


class BundleVersionError(BundleError):
    """It was built by a newer version."""
