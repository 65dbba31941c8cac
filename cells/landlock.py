"""A second wall: Landlock, which refuses files, TCP ports, abstract sockets and signals, by itself even where a system call got through.

It does not cover what needs no opening: stat, and inherited descriptors.
"""

from __future__ import annotations

from cells._walls import ffi
from cells.syscalls import RESULT, Call, call

SCOPED = 6  # the first version that keeps abstract sockets and signals inside

# From linux/landlock.h: since which version how many rights, and since which it reads how many bytes of
# struct landlock_ruleset_attr (files, net, scoped)
_FILES = ((5, 16), (3, 15), (2, 14), (1, 13))
_NET, _SCOPES = 0b11, 0b11
_SIZES = ((SCOPED, 24), (4, 16), (1, 8))
_CREATE_RULESET_VERSION = 1


def version() -> int:
    """Of Landlock's ABI; 0 where there is none."""
    try:
        return call("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:  # ENOSYS, EOPNOTSUPP (switched off at boot), or a filter of a container's
        return 0


def deny_all(abi: int) -> list[Call]:
    """What refuses a thread, for ever, everything that this version knows. It needs NO_NEW_PRIVS, and one free descriptor."""
    rights = ffi.new("uint64_t[3]", [(1 << _of(_FILES, abi)) - 1, _NET, _SCOPES])
    return [
        Call("landlock", "landlock_create_ruleset", (rights, _of(_SIZES, abi), 0)),
        Call("landlock", "landlock_restrict_self", (RESULT, 0)),
    ]


def _of(table: tuple[tuple[int, int], ...], abi: int) -> int:
    return next(value for since, value in table if abi >= since)
