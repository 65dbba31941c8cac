"""Components that were compiled once for the many cells that run them."""

from __future__ import annotations

from typing import Final

from beamlike import record

MOST_CODE: Final = 512 * 1024 * 1024  # bytes of one


@record
class Compiled:
    """A component as machine code, by `compile_component` and for `spawn_cell`.

    Nobody has checked the code, and that is no matter: it is for cells, whose walls are for programs that may do anything. It fits one
    version of wasmtime, and processors like the one that it was compiled on.

    Args:
        is_metered: whether it counts its instructions, as a cell with a limit of fuel needs and another cannot use.
    """

    code: bytes
    is_metered: bool
