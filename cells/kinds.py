"""What crosses the ring between a cell and its gateway, besides the records of `nodes.seam.Kind`.

Of those a cell may write the kinds of the table `acts.ACTS`; `to` is a handle that it was given, never a pid. All else it writes ends it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

OUTSIDE: Final = "outside"  # the node of all pids that a cell is handed; their serials are handles
CELL: Final = "cell"  # the node of the pids of a cell's own processes
LONGEST: Final = 64 * 1024  # bytes of a record's payload, in both directions
LIFE: Final = 1  # the incarnation of both


class CellKind(IntEnum):
    """Never renumbered: programs in C know them."""

    START = 64  # to the cell: what it is to run, `program.Start`
    ENDED = 65  # from: the process that was to run it; the reason
    OUTPUT = 66  # ref: 1 for stdout, 2 for stderr; the bytes as they are
    REQUEST = 67  # ref; (operation, operand, …): a file or a connection
    ANSWER = 68  # to the cell: ref; ("ok", value) or ("error", errno, text)
    READY = 69  # from: the serial of its first process. It is locked, and has not looked at its program yet


# The source of a wasm cell is bytes, or a pair: what is to be done with them, or has been, and they.
COMPILE: Final = "compile"
COMPILED: Final = "compiled"

# Exit statuses of a cell; from 100 on they are `seccomp.violation_of`'s.
LOCK_FAILED: Final = 97  # it could not lock itself, and has run nothing
OUT_OF_MEMORY: Final = 98  # and nothing could be packed any more
