"""The life of this node, for the functions that programs call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.life import Life

life: Life | None = None
is_node = False  # this OS process was made to be a node: it starts no system of its own
given_descriptors: tuple[int, ...] = ()


def joined() -> Life:
    """RuntimeError if this interpreter is no node among others."""
    if life is None:
        raise RuntimeError("this node is alone: start the program by nodes.run(main, nodes=…) or `beamlike run --nodes N FILE`")
    return life


def joined_or_none() -> Life | None:
    """The same; None if this interpreter is no node among others."""
    return life


def given() -> tuple[int, ...]:
    """The descriptors that this node was given by `nodes.run`, its own to close; () in what is no such node."""
    return given_descriptors


def leads_group() -> bool:
    """Whether this node leads a process group, away from any terminal. What it starts is to stay there: a node's owner kills and reaps what
    is left in its group when it has died. A node that is alone has the group of the program that it is in."""
    return is_node


def allowed_cores() -> set[int]:
    """The cores that what this node starts may use: those of its owner, which is the parent of a node that is pinned to one of them."""
    return os.sched_getaffinity(os.getppid() if is_node else 0)
