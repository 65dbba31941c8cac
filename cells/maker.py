"""Who makes the OS process at the other end of a connection: a zygote, which forks cells; or who starts a unikernel."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Protocol

from beamlike.seam import error_reason, format_reason, log
from cells.kinds import LONGEST
from nodes.seam import PairEnd, create

CAPACITY: Final = 64 * 1024  # bytes of each ring

logger = logging.getLogger("beamlike.cells")


class Ended(NamedTuple):
    """How an OS process ended."""

    status: int | None  # as of `subprocess`; None if nobody knows
    cpu: float = 0.0  # seconds
    memory: int = 0  # bytes, the most that were resident
    why: str = ""  # nobody knows


class Ways(NamedTuple):
    """The ways between a node and such an OS process."""

    end: PairEnd
    longest: int  # bytes of a message, at both ends
    bell: int  # a descriptor that becomes readable when the node's bell is rung
    their_bell: int  # one to write eight bytes to, which rings theirs; neither blocks
    theirs: list[int]  # what the other side gets of this, in an order that is its maker's; closed here when it has been made

    def close(self) -> None:
        """If nothing has come of it."""
        self.end.close()
        for fd in (self.bell, self.their_bell, *self.theirs):
            os.close(fd)


class Maker(Protocol):
    """See the module."""

    def ways(self) -> Ways:
        """New ones. Raises: OSError for want of descriptors or memory."""

    def fork(self, settings: dict[str, Any], fds: list[int], forked: Callable[[int], None], ended: Callable[[Ended], None]) -> None:
        """Make an OS process. In trio's loop, `forked` is called with its pidfd, which is the callee's; `ended` once, whatever happens.

        Raises: CellUnavailable; OSError.
        """

    def reason_of(self, ended: Ended) -> Any:
        """With what reason it has ended, if there is more to say than its status does; else None."""


def two_bells() -> Ways:
    """Rings for short messages, and an eventfd each; `theirs` are the memory, its bell, ours. Raises: OSError."""
    with ExitStack() as undo:
        memfd, end = create(CAPACITY, LONGEST)
        undo.callback(end.close)
        undo.callback(os.close, memfd)
        bell, their_bell = eventfd(undo), eventfd(undo)
        theirs = [memfd, duplicate(undo, their_bell), duplicate(undo, bell)]
        undo.pop_all()
    return Ways(end, LONGEST, bell, their_bell, theirs)


def tell_safely(fn: Callable[[Any], None], what: Any) -> None:
    """Whatever goes wrong about one of them is not to end the node, as an exception in a system task would."""
    try:
        fn(what)
    except Exception as error:  # noqa: BLE001 - see above
        log(logger, logging.ERROR, "InternalError, please report it: of a cell: %s", format_reason(error_reason(error)))


def eventfd(undo: ExitStack) -> int:
    """A bell. `undo` closes it."""
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    undo.callback(os.close, fd)
    return fd


def duplicate(undo: ExitStack, fd: int) -> int:
    """The same once more. `undo` closes it."""
    copy = os.dup(fd)
    undo.callback(os.close, copy)
    return copy
