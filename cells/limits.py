"""What a cell may use."""

from __future__ import annotations

from typing import ClassVar, Final

from beamlike import record
from cells.kinds import LONGEST

LEAST_CPU: Final = 0.001  # seconds: more than a cell looks for its program before it sleeps


@record
class Limits:
    """What a cell may use; the defaults are for a small program.

    Args:
        memory: bytes of address space beyond the interpreter's own. Passing it is a MemoryError inside, and unless that is caught the end,
            `("limit", "memory")`. For WebAssembly bytes of each of its memories; its compiler has 64 MiB besides, enough for a module of
            700 KB, and takes from this what it needs more: up to 90 bytes for each of the module's. For components see docs/wasm-cells.md.
        cpu: seconds of CPU time, at least 0.001, over its whole life, from when it is locked in; None: no limit. Then it ends with
            `("limit", "cpu")`.
        fuel: instructions of WebAssembly, about, over its whole life, then it ends with `("limit", "cpu")`, after the same instruction each
            time; None: no limit. Counting makes it slower.
        messages_per_s: records that are taken from it in a second; what it sends beyond that waits in its own ring, and it with it.
        message_bytes: bytes of a message, to or from it, at most 65,536.
        output_bytes: of stdout and stderr together; then it ends with `("limit", "output")`.
        file_bytes: that it may write to files which are open to it, in all; then it gets EDQUOT.

    Raises: TypeError or ValueError that names the field.
    """

    most_message_bytes: ClassVar[int] = LONGEST

    memory: int = 64 * 1024 * 1024
    cpu: float | None = None
    fuel: int | None = None
    messages_per_s: int = 100_000
    message_bytes: int = LONGEST
    output_bytes: int = 1024 * 1024
    file_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check every field. A receiver does it once more: records arrive without being checked."""
        for name in ("memory", "messages_per_s", "message_bytes", "output_bytes", "file_bytes"):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"Limits: {name} is an int, not {value!r}")
            if value < (0 if name in ("output_bytes", "file_bytes") else 1):
                raise ValueError(f"Limits: {name} is {value}: expected a positive number")
        if self.message_bytes > self.most_message_bytes:
            raise ValueError(f"Limits: message_bytes is {self.message_bytes}: at most {self.most_message_bytes}")
        if self.fuel is not None and (type(self.fuel) is not int or self.fuel < 1):
            raise ValueError(f"Limits: fuel is {self.fuel!r}: expected a positive number of instructions, or None")
        if self.cpu is not None:
            if type(self.cpu) not in (int, float):
                raise TypeError(f"Limits: cpu is seconds or None, not {self.cpu!r}")
            if not LEAST_CPU <= self.cpu < 1e9:
                raise ValueError(f"Limits: cpu is {self.cpu}: expected {LEAST_CPU} seconds or more, and less than 1e9, or None")
