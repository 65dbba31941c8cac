"""What a system of nodes needs, looked at before anything is started."""

from __future__ import annotations

import math
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

from nodes import kernel
from nodes.errors import StartError
from nodes.member import PAGE
from nodes.serd import MOST

LONGEST_NAME = 255  # bytes
DESCRIPTORS_PER_NODE = 4  # control channel, its other end until the forge has it, page, pidfd
MOST_GIVEN = 8  # descriptors for each node, of the 16 that a packet can have
SPARE_DESCRIPTORS = 64  # the forge's, and those of packets on their way


def check_arguments(names: Sequence[str], cores: Sequence[int], main: str, on_main_lost: str) -> None:
    """ValueError for what an `Owner` cannot be made of."""
    if not names:
        raise ValueError("a system has at least one node, not none")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name.encode()) <= LONGEST_NAME:
            raise ValueError(f"a node's name is a str of 1 to {LONGEST_NAME} bytes, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"nodes have different names, not {', '.join(names)}")
    if len(cores) != len(names):
        raise ValueError(f"each node has a core: there are {len(names)} names, but {len(cores)} cores")
    if main not in names:
        raise ValueError(f"main runs on one of the nodes, {', '.join(names)}, not on {main!r}")
    if on_main_lost not in ("stop", "restart"):
        raise ValueError(f"on_main_lost is 'stop' or 'restart', not {on_main_lost!r}")


def check_fault_limit(limit: Any) -> tuple[int, float]:
    """TypeError or ValueError if this is not how many faults of a node in how many seconds retire it."""
    match limit:
        case (int(faults), int(seconds) | float(seconds)) if not any(type(each) is bool for each in limit):
            if 1 <= faults <= MOST and 0 < seconds < math.inf:
                return faults, float(seconds)
            raise ValueError(f"fault_limit is 1 to {MOST} faults in more than 0.0 seconds, not {limit!r}")
    raise TypeError(f"fault_limit is how many faults in how many seconds retire a node, as (3, 3600.0), not {limit!r}")


def check_seconds(name: str, value: Any) -> float:
    """TypeError or ValueError if this argument is no time that can pass. It may be infinite."""
    if type(value) not in (int, float):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not value > 0:
        raise ValueError(f"{name} is more than 0 seconds, not {value!r}")
    return float(value)


def check_setup(setup: Any) -> tuple[str, tuple[Any, ...]] | None:
    """TypeError if this is not a function's name with its arguments."""
    match setup:
        case None | (str(), tuple()):
            return setup
    raise TypeError(f"setup is a function with its arguments, as ('module:qualname', ()), not {setup!r}")


def check_descriptors(descriptors: Any) -> tuple[int, ...]:
    """TypeError or ValueError if these cannot be given to nodes."""
    given = tuple(descriptors)
    if any(type(each) is not int for each in given):
        raise TypeError(f"descriptors are ints, not {given!r}")
    if len(given) > MOST_GIVEN:
        raise ValueError(f"descriptors are at most {MOST_GIVEN}, not {len(given)}")
    return given


def require_kernel() -> bool:
    """Try what no node can be without. Whether this OS process is a subreaper."""
    if not sys.executable:
        raise StartError("the forge needs an interpreter to run, and sys.executable names none: set it")
    tried = "memfd_create"
    try:
        os.close(kernel.new_page(PAGE))
        tried = "pidfd_open"
        os.close(os.pidfd_open(os.getpid()))
        tried = "prctl"
        return kernel.is_subreaper()
    except (OSError, AttributeError) as error:
        raise StartError(f"nodes need {tried}, of Linux 5.4 or newer, and it was refused (a container may forbid it): {error}") from error


def require_descriptors(nodes: int) -> None:
    """StartError if this OS process may not open as many as it will need."""
    needed = len(os.listdir("/proc/self/fd")) + nodes * DESCRIPTORS_PER_NODE + SPARE_DESCRIPTORS
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise StartError(
            f"{nodes} nodes need {needed} file descriptors here, and {allowed} are allowed: `ulimit -n {needed}`, or fewer nodes"
        )
